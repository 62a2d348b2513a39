"""The strategy by which a stream plans projections: the same plan as Spark's own, found sooner."""

import re

import pytest
from pyspark.sql import functions as F

from pipelines.planning import NAME, plan_projects_at_once


@pytest.fixture
def planned_at_once(spark):
    """The session with the strategy, which is taken out again."""
    methods = spark._jsparkSession.experimental()
    before = methods.extraStrategies()
    plan_projects_at_once(spark)
    yield spark
    getattr(methods, "extraStrategies_$eq")(before)


@pytest.fixture(scope="module")
def folder(spark, tmp_path_factory):
    where = str(tmp_path_factory.mktemp("planned") / "rows")
    spark.range(20).select("id", (F.col("id") * 2).alias("n"), F.lit("x").alias("unused")).write.parquet(where)
    return where


def stacked(spark, folder):
    """Projections that the optimizer cannot make one of, as each reads a costly column of the one below twice."""
    rows = spark.read.parquet(folder).where("n > 4")
    for step in range(4):
        dear = F.sha2(F.col(f"t{step - 1}") if step else F.col("n").cast("string"), 256)
        rows = rows.select("id", dear.alias(f"t{step}"))
        rows = rows.select("id", F.concat(f"t{step}", f"t{step}").alias(f"t{step}"))
    return rows


def physical(rows):
    return re.sub(r"#\d+L?|file:\S+|plan_id=\d+", "", rows._jdf.queryExecution().sparkPlan().toString())


def test_the_plan_is_the_one_that_spark_finds(spark, folder, request):
    own = physical(stacked(spark, folder))
    request.getfixturevalue("planned_at_once")
    assert physical(stacked(spark, folder)) == own
    assert own.count("Project") > 2


def test_the_strategy_is_the_one_that_plans(planned_at_once, folder):
    methods = planned_at_once._jsparkSession.experimental()
    (strategy,) = [methods.extraStrategies().apply(0)]
    top = stacked(planned_at_once, folder)._jdf.queryExecution().optimizedPlan()
    assert strategy.getClass().getName() == NAME
    assert strategy.apply(top).size() == 1


def test_a_projection_over_a_file_is_left_to_the_file_s_own_strategy(planned_at_once, folder):
    strategy = planned_at_once._jsparkSession.experimental().extraStrategies().apply(0)
    rows = planned_at_once.read.parquet(folder).select("n")
    assert strategy.apply(rows._jdf.queryExecution().optimizedPlan()).size() == 0
    assert "ReadSchema: struct<n:bigint>" in rows._jdf.queryExecution().executedPlan().toString()


def test_rows_are_the_same(spark, folder, request):
    own = sorted(stacked(spark, folder).collect())
    request.getfixturevalue("planned_at_once")
    assert sorted(stacked(spark, folder).collect()) == own
