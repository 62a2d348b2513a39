"""Rows of the driver as a DataFrame: the values given, and no Python worker."""

import pyarrow as pa
import pytest

from features.driver_rows import driver_rows

SCHEMA = pa.schema({"name": pa.string(), "share": pa.float64(), "parts": pa.list_(pa.float64())})


@pytest.fixture
def made(spark):
    return driver_rows(spark, [("a", 0.5, (0.1, 0.9)), (None, None, None)], SCHEMA)


def test_rows_come_back_as_they_were_given(made):
    assert [tuple(row) for row in made.collect()] == [("a", 0.5, [0.1, 0.9]), (None, None, None)]


def test_no_rows_leave_the_columns(spark):
    none = driver_rows(spark, [], SCHEMA)
    assert none.count() == 0
    assert none.columns == SCHEMA.names


def test_no_python_worker_makes_them(made):
    assert "Python" not in made._jdf.queryExecution().toRdd().toDebugString()


def test_that_can_be_seen_where_one_does(spark):
    rows = spark.createDataFrame([("a", 0.5)], "name string, share double")
    assert "Python" in rows._jdf.queryExecution().toRdd().toDebugString()
