"""Java's side of a query, as far as its end needs it: the loop that plans batches and epochs, and how it is marked."""

from dataclasses import dataclass
from typing import Any

from pyspark import SparkContext
from pyspark.sql.streaming.query import StreamingQuery

RUNTIME = "org.apache.spark.sql.execution.streaming.runtime"
WAITS_FOR_TASKS = "org.apache.spark.scheduler.DAGScheduler.runJob"
TOP_FRAMES = 30  # of a stack; to wait takes a dozen, and each is a call to Java


@dataclass(frozen=True)
class Loop:
    """Java's side of a query: the state that its loop looks at, the mark that ends it, its thread, its progress lock.

    Fetched once, when the query starts: a failure to find them at its end would pass for a query that has ended.
    """

    state: Any
    ended: Any
    thread: Any
    progress: Any

    @classmethod
    def of(cls, query: StreamingQuery) -> "Loop | None":
        """The loop of a query; None where this Spark has no such parts."""
        try:
            execution: Any = query._jsq.streamingQuery()
            java: Any = SparkContext._active_spark_context._jvm  # type: ignore[union-attr]
            runtime = java
            for part in RUNTIME.split("."):
                runtime = getattr(runtime, part)
            ended = getattr(getattr(runtime, "TERMINATED$"), "MODULE$")
            thread, progress = execution.queryExecutionThread(), execution.awaitProgressLock()
            return cls(execution.state(), ended, thread, progress)
        except Exception:  # another attribute, or another class behind it: AttributeError, TypeError, Py4J's own
            return None

    def mark_as_ended(self) -> None:
        """Have the loop begin no other batch; it lets go of one that it still plans."""
        self.state.set(self.ended)

    def mark_once_it_runs(self) -> bool:
        """Have the loop begin no other epoch, if the one in hand runs by now; whether it does.

        A loop that finds itself ended after it has planned an epoch interrupts itself, and leaves the tasks, which it
        sends off all the same, to themselves. Without its progress lock an epoch does not end, nor another one begin.
        """
        if not self.progress.tryLock():
            return False
        try:
            runs = waits_for_tasks(self.thread)
            if runs:
                self.mark_as_ended()
            return runs
        finally:
            self.progress.unlock()

    def works(self) -> bool:
        """Whether the loop's thread still runs."""
        return bool(self.thread.isAlive())


def waits_for_tasks(thread: Any) -> bool:
    """Whether a thread of Java has sent off the tasks of a Spark job and waits for their end, as its stack tells."""
    frames = thread.getStackTrace()
    return any(WAITS_FOR_TASKS in str(frames[i].toString()) for i in range(min(len(frames), TOP_FRAMES)))
