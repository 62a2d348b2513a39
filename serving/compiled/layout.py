"""The columns that a forest is asked about: numbers, and one indicator per set of words or buckets it tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.compiled.description import CategoryInput, Compiled, Floats, Ints, NumericInput

Column = tuple[int, int]  # slot of the feature vector, and the set tested (-1: the number in the slot)


@dataclass(frozen=True)
class InputColumns:
    """Where one input goes, as columns `first` up to `last` of the forest's matrix.

    A word or a bucket has a code: `table[code]` holds its columns, and `classes[code]` is equal for codes that no
    test tells apart. `hot[code]` is the one column that a word sets to 1 (`spare` for none), where its columns are
    indicators of words alone. A plain number has ascending `thresholds` in place of these.
    """

    index: int
    first: int
    last: int
    table: Floats | None
    hot: Ints | None
    classes: Ints
    thresholds: Floats

    @property
    def kinds(self) -> int:
        """How many values of the input the forest can tell apart."""
        return int(self.classes.max()) + 1 if self.table is not None else len(self.thresholds) + 1


@dataclass(frozen=True)
class Layout:
    """Columns of the matrix by slot and set, and the inputs that fill them, most asked first."""

    columns: dict[Column, int]
    inputs: tuple[InputColumns, ...]

    @property
    def width(self) -> int:
        """Columns of the matrix; the last one is spare and never read."""
        return len(self.columns) + 1


def layout(compiled: Compiled) -> Layout:
    """Lay out the columns that the trees ask for; inputs that no tree reads have none."""
    trees, description = compiled.trees, compiled.description
    inner = trees.left >= 0
    columns: dict[Column, int] = {}
    found, offset = [], 0
    for index, source in enumerate(description.inputs):
        mine = inner & (trees.slot >= offset) & (trees.slot < offset + source.width)
        onehot = isinstance(source, CategoryInput) and source.onehot
        tests = zip(trees.slot[mine].tolist(), trees.set_of[mine].tolist(), strict=True)
        asked = sorted({(slot, -1 if onehot else which) for slot, which in tests})
        first = len(columns)
        columns.update({key: first + i for i, key in enumerate(asked)})
        if asked:
            thresholds = np.unique(trees.threshold[mine & (trees.set_of < 0)])
            weight = float(trees.count[mine].sum())
            found.append((weight, (index, first, asked, thresholds, offset)))
        offset += source.width
    ordered = [about for _, about in sorted(found, key=lambda f: -f[0])]
    return Layout(columns, tuple(_input(compiled, len(columns), *about) for about in ordered))


def code_count(source: NumericInput | CategoryInput) -> int:
    """Codes of an input: words and one for all others; or buckets, one for NaN and one for missing."""
    return len(source.labels) + 1 if isinstance(source, CategoryInput) else len(source.edges) + 1


def _input(
    compiled: Compiled, spare: int, index: int, first: int, asked: list[Column], thresholds: Floats, offset: int
) -> InputColumns:
    source = compiled.description.inputs[index]
    last = first + len(asked)
    if isinstance(source, NumericInput) and not source.edges:
        return InputColumns(index, first, last, None, None, np.zeros(1, np.int32), thresholds)
    codes = np.arange(code_count(source))
    onehot = isinstance(source, CategoryInput) and source.onehot
    table = np.column_stack([_answers(compiled, source, codes, slot - offset, which) for slot, which in asked])
    hot = None
    if onehot:
        hot = np.where(table.any(axis=1), first + table.argmax(axis=1), spare).astype(np.int32)
    _, classes = np.unique(table, axis=0, return_inverse=True)
    return InputColumns(index, first, last, table, hot, classes.astype(np.int32).ravel(), thresholds)


def _answers(
    compiled: Compiled, source: NumericInput | CategoryInput, codes: npt.NDArray[Any], place: int, which: int
) -> Floats:
    """What every code of an input puts into one column."""
    if isinstance(source, CategoryInput) and source.onehot:
        return (codes == place).astype(np.float64)
    if which >= 0:
        sets = compiled.trees.sets
        return sets[which][np.minimum(codes, sets.shape[1] - 1)].astype(np.float64)
    numbers = codes.astype(np.float64)
    if isinstance(source, NumericInput):
        numbers[-1] = np.nan
    return numbers
