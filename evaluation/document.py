"""A document of text, tables and pictures that is written as Markdown and as one self-contained HTML page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import jinja2
from matplotlib.figure import Figure

Mark = Literal["", "good", "bad", "faint"]
_HTML = jinja2.Environment(
    loader=jinja2.PackageLoader("evaluation", ""),  # also from a zip, as under spark-submit
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Code:
    """Commands or a file, as they are."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; `marks` (one per row, or none) colour rows; columns of `numbers` stand right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[Mark, ...] = ()
    numbers: tuple[int, ...] = ()

    def mark(self, row: int) -> Mark:
        """How a row is coloured."""
        return self.marks[row] if self.marks else ""


@dataclass(frozen=True)
class Picture:
    """A PNG image; `path` is where it lies in the run, for the Markdown form, which carries no images."""

    title: str
    png: bytes
    path: str = ""

    @classmethod
    def of(cls, title: str, figure: Figure) -> "Picture":
        """Draw a matplotlib figure."""
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=110)
        return cls(title, drawn.getvalue())

    @property
    def data_uri(self) -> str:
        """The image as an address that needs no file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


Block = Text | Code | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands beneath it; a section without blocks says that there is nothing."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A title, what it is about, and sections in order; `verdict` stands large beneath the title."""

    title: str
    subject: str
    sections: tuple[Section, ...]
    verdict: str = ""
    mark: Mark = ""

    def as_html(self) -> str:
        """One page that loads nothing from anywhere; all text is escaped."""
        kinds = {Text: "text", Code: "code", Table: "table", Picture: "picture"}
        page = _HTML.get_template("document.html.j2")
        return page.render(document=self, kind=lambda block: kinds[type(block)])

    def as_markdown(self) -> str:
        """The same in Markdown; pictures are named by their path, where they have one."""
        lines = [f"# {_one_line(self.title)}", "", _one_line(self.subject), ""]
        lines += [f"**{_one_line(self.verdict)}**", ""] if self.verdict else []
        for section in self.sections:
            lines += [f"## {_one_line(section.title)}", ""]
            for block in section.blocks:
                lines += [*_markdown(block), ""]
        return "\n".join(lines).rstrip() + "\n"


def said(value: object, digits: int = 3) -> str:
    """A value as a cell shows it: a fraction to `digits` decimals, a count with commas, nothing as a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def percent(value: float | None, digits: int = 1) -> str:
    """A share in per cent, nothing as a dash."""
    return "-" if value is None else f"{value:.{digits}%}"


def span(found: Mapping[str, float] | None, digits: int = 3, sign: Literal["", "+"] = "") -> str:
    """A value with the ends of its interval (`value`, `low`, `high`), nothing as a dash; with `+` a difference."""
    if not found:
        return "-"
    value, low, high = (f"{found[end]:{sign}.{digits}f}" for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _markdown(block: Block) -> list[str]:
    if isinstance(block, Text):
        return [_one_line(block.text)]
    if isinstance(block, Code):
        return ["```", block.text.replace("```", "'''"), "```"]
    if isinstance(block, Picture):
        return [f"Picture: {_one_line(block.title)}" + (f" (`{block.path}` of the run)" if block.path else "")]
    rule = ["---:" if i in block.numbers else "---" for i in range(len(block.head))]
    return [_row(block.head), _row(rule), *(_row(row) for row in block.rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_one_line(cell).replace('|', '/') for cell in cells)} |"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")
