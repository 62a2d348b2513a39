"""The compiled forest as paths from root to leaf: what each field must be, and how many training leads were so."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from serving.compiled.description import CategoryInput, Compiled, Description, Floats
from serving.compiled.encoding import Encoded
from serving.compiled.errors import CannotExplain
from serving.compiled.layout import InputColumns, Layout, code_count

Bits = npt.NDArray[np.bool_]
Steps = dict[int, tuple[Bits, float]]


@dataclass(frozen=True)
class Path:
    """A leaf: per field asked about on the way, for which of its codes the lead passes, and the covers' product.

    `field` (d) are places in the layout's inputs; `passes` (d x codes); `cover` (d): the share of the training leads
    of a node that went on along the path, multiplied over the field's tests; `value`: what the leaf adds to the
    forest's probability.
    """

    field: tuple[int, ...]
    passes: Bits
    cover: Floats
    value: float


def refuse_unexplainable(description: Description) -> None:
    """CannotExplain for boosted trees, and where a field goes into the vector twice."""
    if description.link != "votes":
        raise CannotExplain(
            "this version has boosted trees; reasons are exact for a forest's probability, which these do not add up "
            "to. Serve a random forest, or leave reasons out (reasons=false)."
        )
    if len(description.inputs) != len(description.fields):
        raise CannotExplain(
            "a field goes into this version's vector twice, and reasons are told by field; leave them out "
            "(reasons=false)."
        )


def codes(encoded: Encoded, rows: npt.NDArray[np.intp], layout: Layout) -> npt.NDArray[np.intp]:
    """What the forest can tell apart of some leads of a batch: a code per input of the layout (inputs x leads)."""
    out = np.zeros((len(layout.inputs), len(rows)), np.intp)
    for at, (place, values) in enumerate(zip(layout.inputs, encoded.values, strict=True)):
        mine = values[rows]
        out[at] = np.searchsorted(place.thresholds, mine, side="left") if place.table is None else place.classes[mine]
    return out


def forest_paths(compiled: Compiled, layout: Layout) -> list[Path]:
    """Every path of the forest. Sum over the leaves of `value` x product of `cover` is the forest's mean."""
    questions = Questions(compiled, layout)
    return [path for root in compiled.trees.roots.tolist() for path in _walk(questions, root, {})]


@dataclass(frozen=True)
class Questions:
    """The tests of the compiled trees, asked by the codes of `codes`."""

    compiled: Compiled
    layout: Layout

    @cached_property
    def kinds(self) -> int:
        """The most codes that an input has."""
        return max((place.kinds for place in self.layout.inputs), default=1)

    @cached_property
    def _places(self) -> dict[int, tuple[int, int]]:
        """Of each slot of the vector: the place of its input in the layout, and the input's first slot."""
        inputs = self.compiled.description.inputs
        first = np.cumsum([0, *(i.width for i in inputs)]).tolist()
        return {
            slot: (at, first[place.index])
            for at, place in enumerate(self.layout.inputs)
            for slot in range(first[place.index], first[place.index + 1])
        }

    def left(self, node: int) -> tuple[int, Bits]:
        """The input that an inner node asks about, and for which of its codes the test holds (the lead goes left)."""
        at, first = self._places[int(self.compiled.trees.slot[node])]
        place = self.layout.inputs[at]
        out = np.zeros(self.kinds, np.bool_)
        if place.table is None:
            # A code is the number of thresholds passed: up to a threshold's own place the number is at most it.
            own = np.searchsorted(place.thresholds, self.compiled.trees.threshold[node])
            out[: own + 1] = True
        else:
            out[place.classes] = self._holds(node, place, first)
        return at, out

    def _holds(self, node: int, place: InputColumns, first: int) -> Bits:
        """Whether the test of a node holds, by word or bucket."""
        trees, source = self.compiled.trees, self.compiled.description.inputs[place.index]
        value = np.arange(code_count(source))
        if isinstance(source, CategoryInput) and source.onehot:
            value = (value == int(trees.slot[node]) - first).astype(value.dtype)
        which = int(trees.set_of[node])
        if which >= 0:
            members = trees.sets[which]
            return np.asarray(members[np.minimum(value, len(members) - 1)])
        holds = value <= trees.threshold[node]
        if not isinstance(source, CategoryInput):
            holds[-1] = False  # a missing number goes right
        return np.asarray(holds)


def _walk(questions: Questions, node: int, steps: Steps) -> Iterator[Path]:
    trees = questions.compiled.trees
    if trees.left[node] < 0:
        passing = np.array([s[0] for s in steps.values()], np.bool_).reshape(len(steps), questions.kinds)
        covers = np.array([s[1] for s in steps.values()])
        yield Path(tuple(steps), passing, covers, float(trees.leaf1[node]) / len(trees.roots))
        return
    at, left = questions.left(node)
    for child, goes in ((trees.left[node], left), (trees.right[node], ~left)):
        # Where no lead of training came by, each way counts the same.
        share = float(trees.count[child] / trees.count[node]) if trees.count[node] else 0.5
        passes, cover = steps.get(at, (goes, 1.0))
        yield from _walk(questions, int(child), {**steps, at: (passes & goes, cover * share)})
