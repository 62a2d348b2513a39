"""What a compiled model is: its inputs, trees, calibration and grades, as frozen data that is saved without code."""

import json
import zipfile
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from serving.compiled.errors import CompiledUnreadable

DESCRIPTION, TREES = "description.json", "trees.npz"
FORMAT = 1

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]


class _Frozen(BaseModel, frozen=True, extra="forbid", ser_json_inf_nan="constants"):
    """Base of the parts of a description."""


class NumericInput(_Frozen, frozen=True):
    """A number of a lead, one slot of the feature vector."""

    name: str = Field(description="field of the lead")
    fill: float | None = Field(None, description="what a missing value becomes; None: it stays missing")
    edges: tuple[float, ...] = Field((), description="ascending edges, where the slot holds the number of a bucket")
    minimum: float = Field(float("-inf"), description="smallest value that a live lead may have")
    maximum: float = Field(float("inf"), description="largest value that a live lead may have")
    unit: str = Field("", description="unit of the number, for reasons")

    @property
    def width(self) -> int:
        """Slots of the feature vector that this input fills."""
        return 1


class CategoryInput(_Frozen, frozen=True):
    """A word of a lead: one slot with its index, or one slot per word."""

    name: str = Field(description="field of the lead")
    labels: tuple[str, ...] = Field(description="known words by index; any other word and a missing one come next")
    slots: int = Field(1, ge=0, description="slots of the feature vector that this input fills")
    onehot: bool = Field(True, description="false where the one slot holds the index itself")
    max_length: int = Field(2**31 - 1, ge=1, description="longest word that a live lead may have")

    @property
    def width(self) -> int:
        """Slots of the feature vector that this input fills."""
        return self.slots


class Calibration(_Frozen, frozen=True):
    """Spark's IsotonicRegressionModel: straight lines between ascending boundaries, level outside them."""

    boundaries: tuple[float, ...] = Field(min_length=1, description="probabilities of the forest")
    predictions: tuple[float, ...] = Field(min_length=1, description="calibrated probabilities at the boundaries")


class Grades(_Frozen, frozen=True):
    """Grades by the calibrated probability: `labels[i]` from `splits[i]` (included) to `splits[i + 1]`."""

    splits: tuple[float, ...] = Field(min_length=3, description="ascending edges")
    labels: tuple[str, ...] = Field(min_length=2, description="one grade per bucket")


class Description(_Frozen, frozen=True):
    """Everything of a compiled model but its trees."""

    format: Literal[1] = Field(1, description="version of this layout")
    inputs: tuple[NumericInput | CategoryInput, ...] = Field(min_length=1, description="in the order of the vector")
    link: Literal["votes", "logistic"] = Field(description="votes: mean of the trees; logistic: boosted trees")
    calibration: Calibration | None = Field(None, description="None: the forest's own probability is served")
    grades: Grades | None = Field(None, description="None: no grade")

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the lead's fields that the model reads, each once."""
        return tuple(dict.fromkeys(i.name for i in self.inputs))

    @cached_property
    def units(self) -> dict[str, str]:
        """Units of the numbers that have one, by field."""
        return {i.name: i.unit for i in self.inputs if isinstance(i, NumericInput) and i.unit}

    @cached_property
    def field_set(self) -> frozenset[str]:
        """The same names, to compare with."""
        return frozenset(self.fields)


@dataclass(frozen=True)
class Trees:
    """Binary trees as columns, one entry per node; a node goes left where its test holds.

    The test of a node: `slot` <= `threshold`, or, where `set_of` is 0 or more, `slot` in the row `set_of` of
    `sets` (shape [sets, values], true: left; the last column stands for a missing value). `leaf0` and `leaf1`
    (NaN inside a tree) are what a leaf adds to the votes for label 0 and 1; boosted trees have `leaf1` alone.
    """

    roots: Ints
    slot: Ints
    threshold: Floats
    set_of: Ints
    left: Ints
    right: Ints
    leaf0: Floats
    leaf1: Floats
    count: Floats
    sets: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Compiled:
    """A description and its trees."""

    description: Description
    trees: Trees

    def save(self, folder: Path) -> None:
        """Write both into a folder, which is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIPTION).write_text(self.description.model_dump_json(indent=1), encoding="utf-8")
        np.savez_compressed(folder / TREES, **{f.name: getattr(self.trees, f.name) for f in fields(Trees)})

    @classmethod
    def load(cls, folder: Path) -> "Compiled":
        """Read both from a folder; CompiledUnreadable where they are missing, damaged or of another format."""
        try:
            text = (folder / DESCRIPTION).read_text(encoding="utf-8")
            found = json.loads(text).get("format")
            if found != FORMAT:
                raise CompiledUnreadable(
                    f"{folder} holds a compiled model of format {found}; this release reads {FORMAT}. Log the model "
                    "again, or score with engine=spark."
                )
            with np.load(folder / TREES, allow_pickle=False) as saved:
                trees = Trees(**{f.name: saved[f.name] for f in fields(Trees)})
            return cls(Description.model_validate_json(text), trees)
        except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile, ValidationError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise CompiledUnreadable(
                f"the compiled model in {folder} is missing or damaged ({said[0][:200]}). Restore the artifact, or "
                "score with engine=spark."
            ) from error
