"""Reports as one self-contained HTML page: sections of text, facts, notes, tables and pictures.

The page needs nothing beside itself: pictures are inline PNG, there is no script and no address, and its content
security policy forbids both. Every text is escaped by jinja2, so words of leads stay words. Readable on a phone, and
in light and dark.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import jinja2
from matplotlib.figure import Figure

from evaluation.errors import EvaluationError

ABSENT = "\N{EN DASH}"
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("evaluation", ""),  # also from a zip, as under spark-submit
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)


class UnevenTable(EvaluationError):
    """A row of a table has another number of cells than the table has columns."""


@dataclass(frozen=True)
class Column:
    """A column of a table; with a `spec` (as `format` takes: ",d", ".1%") it holds numbers, to the right."""

    title: str
    spec: str = ""

    @property
    def number(self) -> bool:
        """Whether the column's cells are numbers."""
        return bool(self.spec)


@dataclass(frozen=True)
class Mark:
    """A cell that is to stand out."""

    value: str | float


Cell = str | int | float | Mark | None


@dataclass(frozen=True)
class ShownCell:
    """A cell as it is written."""

    text: str
    number: bool
    marked: bool


@dataclass(frozen=True)
class Table:
    """Rows under named columns; None is shown as a dash. UnevenTable where a row does not fit the columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    part: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        wrong = next((row for row in self.rows if len(row) != len(self.columns)), None)
        if wrong is not None:
            raise UnevenTable(
                f"a row of the table {self.caption!r} has {len(wrong)} cells and the table {len(self.columns)} "
                "columns; give every row one cell for each column (None for an empty one)."
            )

    @property
    def shown(self) -> list[list[ShownCell]]:
        """The cells as they are written."""
        return [[_shown(cell, col) for cell, col in zip(row, self.columns, strict=True)] for row in self.rows]


@dataclass(frozen=True)
class Note:
    """A remark beside the text; a warning stands out."""

    text: str
    kind: Literal["info", "warning"] = "info"
    part: ClassVar[str] = "note"


@dataclass(frozen=True)
class Facts:
    """Headline figures: pairs of a name and a value that is written already."""

    items: Sequence[tuple[str, str]]
    part: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Picture:
    """A picture as PNG; `alt` says in words what it shows."""

    png: bytes
    alt: str
    caption: str = ""
    part: ClassVar[str] = "picture"

    @property
    def base64(self) -> str:
        """The picture as the text of a data address."""
        return base64.b64encode(self.png).decode("ascii")


Part = str | Note | Facts | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; a plain text is a paragraph."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """A report; `subject` says of what, under the title."""

    title: str
    subject: str
    sections: Sequence[Section]


def picture(figure: Figure, alt: str, caption: str = "") -> Picture:
    """A matplotlib figure as a picture of a page."""
    buffer = io.BytesIO()
    # Without the software's name and version the same figure gives the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return Picture(buffer.getvalue(), alt, caption)


def render(page: Page) -> str:
    """The page as HTML text, to be written as UTF-8."""
    return _TEMPLATES.get_template("page.html.jinja").render(page=page)


def _shown(cell: Cell, column: Column) -> ShownCell:
    value = cell.value if isinstance(cell, Mark) else cell
    if value is None:
        return ShownCell(ABSENT, column.number, isinstance(cell, Mark))
    text = value if isinstance(value, str) else format(value, column.spec)
    return ShownCell(text, column.number, isinstance(cell, Mark))
