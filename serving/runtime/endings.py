"""Ends a running query after the batch or epoch in hand, so that everything that was written is also committed."""

import time
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

RUNTIME = "org.apache.spark.sql.execution.streaming.runtime"
# They log, with a stack, what `await_end` raises or what a stop interrupts.
TALKATIVE = (
    f"{RUNTIME}.MicroBatchExecution",
    "org.apache.spark.sql.execution.datasources.v2.WriteToDataSourceV2Exec",
    "org.apache.spark.sql.execution.datasources.v2.DataWritingSparkTask",
    "org.apache.spark.util.Utils",
)


def ask_to_end(query: StreamingQuery) -> bool:
    """Let a query commit the batch or epoch that it is in, and begin no other; False where this Spark cannot.

    Spark's own `stop` first marks a query as ended, which its loop looks at between two batches, and then interrupts
    the batch. This does the first half alone. It returns at once; the query ends later, without an error.
    """
    try:
        ended = getattr(getattr(query.sparkSession_jvm, "TERMINATED$"), "MODULE$")  # type: ignore[attr-defined]
        query._jsq.streamingQuery().state().set(ended)
    except Exception:
        return False
    return True
