"""The compiled scorer as an MLflow model: load_model, batch UDFs and `mlflow models serve`, without a JVM."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel

from serving.compiled.checks import checked_batch, refuse_fields
from serving.compiled.errors import BadLead, CannotExplain
from serving.compiled.reasons import COLUMN
from serving.compiled.scorer import CompiledScorer

ARTIFACT = "compiled"
# Below this many leads, one at a time is faster than a batch.
FEW = 8


class CompiledModel(PythonModel):
    """Leads in, one row per lead out: score (0-100), probability (0-1), prediction (0 or 1), grade (or None).

    Every field of the signature must be there as a column; an unanswered field is null. Leads that the contract
    refuses are an MlflowException of code BAD_REQUEST (HTTP 400) that names the fault; the parameter
    `check=False` scores values outside the contract's ranges and lengths as well. The parameter `reasons=True` adds
    a column: per lead a list of dictionaries with field, value, points and text (serving.compiled.reasons).
    """

    scorer: CompiledScorer

    def load_context(self, context: Any) -> None:
        """Open the scorer from the model's artifacts."""
        self.scorer = CompiledScorer.load(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score a DataFrame of leads, in its order and with its index."""
        asked = params or {}
        try:
            found = self._scored(model_input, check=bool(asked.get("check", True)))
            if asked.get("reasons"):
                told = self.scorer.reasons(_table(model_input)).to_pylist()
                found[COLUMN] = pd.Series(told, index=found.index, dtype=object)
            return found
        except (BadLead, CannotExplain) as error:
            raise MlflowException(str(error), error_code=BAD_REQUEST) from None

    def _scored(self, leads: pd.DataFrame, check: bool) -> pd.DataFrame:
        description = self.scorer.description
        refuse_fields(map(str, leads.columns), description)
        if check and 0 < len(leads) <= FEW:
            rows = [self.scorer.score_one(lead) for lead in _records(leads)]
            return pd.DataFrame(rows, index=leads.index)
        table = _table(leads)
        if check:
            checked_batch(table, description)
        scores = self.scorer.score(table)
        columns = {"score": scores.score, "probability": scores.probability, "prediction": scores.prediction}
        return pd.DataFrame({**columns, "grade": scores.grades().to_pandas()}, index=leads.index)


def _table(leads: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(leads, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadLead(f"the leads hold values of mixed types: {error}.") from None
    except UnicodeEncodeError as error:
        raise BadLead(f"the leads hold a text that is not of whole characters: {error.object[:40]!r}.") from None


def _records(leads: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries; pandas' NaN in a column of words or numbers is a missing value."""
    names = [str(name) for name in leads.columns]
    rows = zip(*(leads[name].tolist() for name in leads.columns), strict=True)
    return [{n: None if v is pd.NA or v != v else v for n, v in zip(names, row, strict=True)} for row in rows]
