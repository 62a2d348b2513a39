"""Arrivals of small leads, as a source would deliver them."""

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession

ARRIVED = "2026-03-04 05:06:07"


def small_arrivals(spark: SparkSession, values: Sequence[str | None], topic: str = "leads") -> DataFrame:
    """Values as records of one Kafka partition, offsets from 0, all of one time."""
    rows = spark.createDataFrame(list(enumerate(values)), "position long, value string")
    return rows.selectExpr(
        "value",
        *(f"string(null) {name}" for name in ("key", "given_id", "given_time")),
        f"timestamp'{ARRIVED}' arrived_at",
        f"concat('{topic}/0/', position) origin",
        "position",
        "string(null) file",
        "string(null) fault",
        "current_date() batch_date",
    )


def at(text: str) -> datetime:
    """A time as Spark hands it to Python in a session in UTC."""
    return datetime.fromisoformat(text)
