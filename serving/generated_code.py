"""Whether Spark generates code for a micro-batch's plan and compiles it, or interprets the plan row by row.

Why and how much: docs/decisions/0063-a-small-batch-is-planning.md.
"""

from dataclasses import dataclass, field

from pyspark.sql import SparkSession

# Code costs a batch what it saves on some 350 leads.
FEW_ROWS = 100
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@dataclass
class GeneratedCode:
    """Has a batch interpreted where the batch before it was small; the first batch is run as the session is set."""

    _as_set: dict[str, str] = field(default_factory=dict)
    _rows_before: int | None = None

    def choose(self, spark: SparkSession) -> None:
        """Set `spark`, the session of the next batch, for it."""
        if not self._as_set:
            self._as_set = {name: str(spark.conf.get(name)) for name in INTERPRETED}
        few = self._rows_before is not None and self._rows_before <= FEW_ROWS
        for name, value in (INTERPRETED if few else self._as_set).items():
            spark.conf.set(name, value)

    def saw(self, rows: int) -> None:
        """Take note of how many rows the batch had."""
        self._rows_before = rows
