"""A stream's plan analysed, optimized and compiled once, when it is made, so that a batch or an epoch does none of it.

Why and how much: docs/decisions/0063-a-small-batch-is-planning.md.
"""

import logging
from collections.abc import Callable
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

from features.java_source import new_instance, send_to_tasks
from features.storage import java_class
from serving.settled_node import NAME, SOURCE

Plan = Callable[[DataFrame], DataFrame]

log = logging.getLogger(__name__)


def settled(spark: SparkSession, arriving: StructType, plan: Plan) -> Plan:
    """`plan` for rows of the columns `arriving`, optimized beforehand; it takes a streaming DataFrame or a batch.

    `plan` is a chain of steps with one input each. It must ask for no current time or date, nor for random numbers:
    these would stand still at the moment of the call, so `arriving` carries them. Where this Spark has its plans
    otherwise, `plan` itself.
    """
    try:
        stand_in = _stand_in(spark, arriving)
        optimized = plan(stand_in)._jdf.queryExecution().optimizedPlan()
        send_to_tasks(spark, SOURCE)
        tool = new_instance(spark, NAME, SOURCE)
        _add_strategy(spark, tool)
        done = tool.settled(optimized, stand_in._jdf.queryExecution().analyzed(), spark.sparkContext._jsc)
        datasets = java_class(spark, "org.apache.spark.sql.classic.Dataset")
    except Exception as error:
        log.debug("the plan is optimized anew each time: %s", error)
        return plan

    def on(rows: DataFrame) -> DataFrame:
        if [(f.name, f.dataType) for f in rows.schema] != [(f.name, f.dataType) for f in arriving]:
            raise ValueError(f"the plan is settled for {arriving.simpleString()}, not for {rows.schema.simpleString()}")
        source = rows._jdf.queryExecution().analyzed()
        return DataFrame(datasets.ofRows(spark._jsparkSession, tool.on(done, source)), spark)

    return on


def _add_strategy(spark: SparkSession, tool: Any) -> None:
    """Have the session's planner, and those of its streams, plan the node of a settled plan."""
    methods: Any = spark._jsparkSession.experimental()
    getattr(methods, "extraStrategies_$eq")(tool.before(methods.extraStrategies()))


def _stand_in(spark: SparkSession, columns: StructType) -> DataFrame:
    """No rows, any of whose values may be null; Spark does not know beforehand that there are none."""
    session: Any = spark._jsparkSession
    none: Any = spark.sparkContext._jsc.emptyRDD()
    nullable = StructType([StructField(f.name, f.dataType, True) for f in columns])
    return DataFrame(session.createDataFrame(none, session.parseDataType(nullable.json())), spark)
