"""Rows that the driver makes, as a DataFrame."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession


def driver_rows(spark: SparkSession, rows: Sequence[Sequence[Any]], schema: pa.Schema) -> DataFrame:
    """A few rows, each with a value for every column of `schema`, as a DataFrame of those columns.

    They travel as Arrow. Of Python's rows PySpark makes a job in Python workers, the first of which take a new process
    two seconds to start, and 200 MB, where nothing else needs any.
    """
    columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)]
    return spark.createDataFrame(pa.Table.from_arrays(columns, schema=schema))
