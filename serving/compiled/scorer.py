"""The compiled scorer: leads in Arrow batches, or one lead as a dictionary, to probabilities and grades."""

import io
import math
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving.compiled.calibrating import calibrated, calibrated_one, grade_codes, grade_of, steepest
from serving.compiled.checks import checked_lead
from serving.compiled.description import Compiled, Floats
from serving.compiled.encoding import Encoded, encode, matrix, one_row, word_index
from serving.compiled.errors import CompiledUnreadable
from serving.compiled.explaining import Explained, Explainer
from serving.compiled.layout import Layout, layout
from serving.compiled.onnx_run import FOREST, open_session, votes
from serving.compiled.reasons import reasons

# Rows of the forest's matrix at a time: what a core's cache holds.
CHUNK = 4096
# How far a sum of doubles may be from Spark's, which adds the votes for both labels; per unit of probability.
ROUNDING = 1e-12
TIE = 0.5


@dataclass(frozen=True)
class Scores:
    """Scores of a batch: `probability` (double, served: calibrated where the model is) and the code of the grade."""

    probability: Floats
    grade: npt.NDArray[np.int64] | None
    labels: tuple[str, ...]

    @property
    def score(self) -> Floats:
        """The probability in percent, one decimal, halves up."""
        return percent(self.probability)

    @property
    def prediction(self) -> npt.NDArray[np.int32]:
        """1 where the probability is at least one half."""
        return (self.probability >= TIE).astype(np.int32)

    def grades(self) -> pa.Array:
        """Grades as strings; null where the model gives none."""
        if self.grade is None:
            return pa.nulls(len(self.probability), pa.string())
        return pa.array(self.labels, pa.string()).take(pa.array(self.grade))


class CompiledScorer:
    """Scores leads by a compiled model; threads may share it.

    `threads` is how many ONNX Runtime uses within one batch; 1 where batches are scored side by side.
    """

    def __init__(self, compiled: Compiled, threads: int = 1, forest: bytes | Path | None = None) -> None:
        self.compiled = compiled
        self.description = compiled.description
        self._layout: Layout = layout(compiled)
        self._threads = threads
        self._session = open_session(forest or self._exported(), threads)
        self._words = word_index(self.description)
        self._trees = len(compiled.trees.roots)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> "CompiledScorer":
        """Load a saved scorer; CompiledUnreadable where its files are missing or damaged."""
        compiled = Compiled.load(folder)
        try:
            return cls(compiled, threads, folder / FOREST)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise CompiledUnreadable(f"{folder / FOREST} cannot be loaded: {str(error)[:200]}") from error

    def save(self, folder: Path) -> None:
        """Write description, trees and the ONNX graph into a folder."""
        self.compiled.save(folder)
        (folder / FOREST).write_bytes(self._exported())

    def encode(self, batch: pa.RecordBatch | pa.Table) -> Encoded:
        """What the forest can tell apart of a batch; BadLead where a column is missing or of a wrong type."""
        return encode(batch, self.description, self._layout)

    def score(self, batch: pa.RecordBatch | pa.Table) -> Scores:
        """Score a batch whose columns carry the contract's names; the batch's order is kept."""
        return self._served(self.forest(self.encode(batch)))

    @cached_property
    def explainer(self) -> Explainer:
        """What tells scores apart by field; made at first use. CannotExplain where the model's cannot be."""
        return Explainer(self.compiled, self._layout)

    def explain(self, batch: pa.RecordBatch | pa.Table) -> Explained:
        """Shares of the forest's probability and points of the score, by field, for a batch in its order."""
        encoded = self.encode(batch)
        return self.explainer.explain(encoded, self.forest(encoded))

    def reasons(self, batch: pa.RecordBatch | pa.Table) -> pa.Array:
        """Reasons of a batch's scores in words (serving.compiled.reasons), in its order."""
        return reasons(batch, self.explain(batch), self.description.units)

    def forest(self, encoded: Encoded) -> Floats:
        """The forest's probability of label 1, before calibration.

        Leads are asked about in the order of their keys: neighbours take the same branches, which the processor
        then foresees, and leads that are the same to the forest are asked about once.
        """
        order = np.argsort(encoded.key)
        first = np.ones(len(order), np.bool_)
        if encoded.exact:
            key = encoded.key[order]
            first[1:] = key[1:] != key[:-1]
        asked = order[first]
        found = np.empty(len(asked))
        for start in range(0, len(asked), CHUNK):
            rows = asked[start : start + CHUNK]
            found[start : start + CHUNK] = self._probability(matrix(encoded, rows, self._layout))
        out = np.empty(len(order))
        out[order] = found[np.cumsum(first) - 1]
        return out

    def score_one(self, lead: Mapping[str, Any]) -> dict[str, Any]:
        """Score one lead: field names to numbers, words or None; BadLead for what the contract refuses.

        The answer: score (0-100, one decimal), probability, prediction (0 or 1), grade (None without grades).
        """
        checked_lead(lead, self.description)
        columns = one_row(lead, self.description, self._layout, self._words)
        probability = float(self._probability(columns)[0])
        calibration, grades = self.description.calibration, self.description.grades
        if calibration is not None:
            probability = calibrated_one(probability, calibration)
        return {
            "score": percent_one(probability),
            "probability": probability,
            "prediction": int(probability >= TIE),
            "grade": None if grades is None else grade_of(probability, grades),
        }

    def _probability(self, columns: Floats) -> Floats:
        one = votes(self._session, columns)
        if self.description.link == "logistic":
            return 1.0 - 1.0 / (1.0 + np.exp(2.0 * one))
        probability = one / self._trees
        close = self._on_edge(probability)
        if close.any():
            # Spark divides by the sum of both votes, which rounding keeps from being the number of trees.
            mine, zero = one[close], votes(self._votes_for_0, columns[close])
            probability[close] = mine / (mine + zero)
        return probability

    def _on_edge(self, probability: Floats) -> npt.NDArray[np.bool_]:
        """Where the last digit matters: beside one half, and everywhere where calibration all but jumps."""
        if self._jumps:
            return np.ones(len(probability), np.bool_)
        return np.abs(probability - TIE) < ROUNDING

    @cached_property
    def _jumps(self) -> bool:
        found = self.description.calibration
        return found is not None and steepest(found) * ROUNDING > 1e-7

    @cached_property
    def _votes_for_0(self) -> Any:
        return open_session(self._exported(label=0), self._threads)

    def _exported(self, label: int = 1) -> bytes:
        # Scoring by a saved scorer needs ONNX Runtime alone; onnx takes a while to import.
        from serving.compiled.onnx_export import export

        return export(self.compiled, self._layout, label)

    def _served(self, probability: Floats) -> Scores:
        calibration, grades = self.description.calibration, self.description.grades
        served = probability if calibration is None else calibrated(probability, calibration)
        if grades is None:
            return Scores(served, None, ())
        return Scores(served, grade_codes(served, grades), grades.labels)


def percent(probability: Floats) -> Floats:
    """Probabilities as scores: in percent, one decimal, halves up as Spark's `round` does, by the decimal digits.

    0.0185 * 100 is 1.8499999999999999, which is no half, though ten times as much is 18.5.
    """
    exact = probability * 100
    tenths = np.floor(exact * 10 + 0.5)
    return np.where(exact < (tenths - 0.5) / 10, tenths - 1, tenths) / 10


def percent_one(probability: float) -> float:
    """The same of one probability."""
    exact = probability * 100
    tenths = math.floor(exact * 10 + 0.5)
    return (tenths - 1 if exact < (tenths - 0.5) / 10 else tenths) / 10


def packed(scorer: CompiledScorer) -> bytes:
    """A scorer as bytes, to travel to other processes."""
    out = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="lead-scoring-compiled-") as name, zipfile.ZipFile(out, "w") as archive:
        scorer.save(Path(name))
        for path in sorted(Path(name).iterdir()):
            archive.write(path, path.name)
    return out.getvalue()


def unpacked(content: bytes, threads: int = 1) -> CompiledScorer:
    """The scorer of `packed` bytes."""
    with tempfile.TemporaryDirectory(prefix="lead-scoring-compiled-") as name:
        zipfile.ZipFile(io.BytesIO(content)).extractall(name)
        return CompiledScorer.load(Path(name), threads)
