"""Grades: the calibrated score in four letters, as stages inside the model, so that a version carries its cuts."""

from typing import Self

from pydantic import BaseModel, Field, model_validator
from pyspark.ml import Transformer
from pyspark.ml.feature import Bucketizer, IndexToString

from features.stages import CALIBRATED, GRADE

GRADES = ("A", "B", "C", "D")
_INDEX = "grade_index"


class GradeCuts(BaseModel, frozen=True, extra="forbid"):
    """Lowest calibrated probability of the grades A, B and C; what lies below is D.

    A cut above 1 stands for a grade that no lead reaches.
    """

    a: float = Field(gt=0, description="lowest probability of grade A")
    b: float = Field(gt=0, description="lowest probability of grade B")
    c: float = Field(gt=0, description="lowest probability of grade C")

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if not self.a > self.b > self.c:
            raise ValueError(f"the cuts must fall from A to C; found {self.a:g}, {self.b:g}, {self.c:g}")
        return self


def grade_stages(cuts: GradeCuts) -> list[Transformer]:
    """Stages `calibrated` -> `grade` (string A best .. D)."""
    inf = float("inf")
    index = Bucketizer(
        inputCol=CALIBRATED, outputCol=_INDEX, splits=[-inf, cuts.c, cuts.b, cuts.a, inf], handleInvalid="keep"
    )
    return [index, IndexToString(inputCol=_INDEX, outputCol=GRADE, labels=[*reversed(GRADES)])]
