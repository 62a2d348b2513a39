"""Where leads to score come from: a folder of Parquet files, at once or as they arrive."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from features.storage import Storage
from serving.errors import ServingError

UNREADABLE = re.compile(r"\[(FAILED_READ_FILE[^\]]*)\] Encountered error while reading file (.+?)\. ")


class BadSource(ServingError):
    """The folder that leads are read from is missing, empty or unreadable, or one of its files is."""


def lead_files(spark: SparkSession, source: str) -> DataFrame:
    """The Parquet files of a folder, not yet read but for the schema; BadSource where there are none."""
    storage = Storage(spark)
    if not storage.is_folder(source):
        raise BadSource(f"the source {source} is not a folder; name the folder that holds the lead files.")
    if not storage.list(source):
        raise BadSource(f"the source {source} is empty; put at least one Parquet file of leads there first.")
    try:
        with naming_unreadable_files():
            return spark.read.parquet(source)
    except PySparkException as error:
        said = str(error).strip().splitlines()[0]
        raise BadSource(f"the source {source} holds no Parquet files ({said}); name another folder.") from error


def file_stream(spark: SparkSession, source: str, schema: StructType, max_files: int) -> DataFrame:
    """The files of a folder as a stream, oldest first, at most `max_files` a micro-batch.

    A file must appear whole (write it elsewhere and rename it) and is read once, whatever its age.
    """
    reader = spark.readStream.schema(schema).option("maxFilesPerTrigger", max_files)
    # Spark's default passes over a file that is a week older than the newest one seen.
    return reader.option("maxFileAge", "36500d").parquet(source)


@contextmanager
def naming_unreadable_files() -> Iterator[None]:
    """Turn the failure of a job or query in the block into BadSource where a file could not be read."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        found = UNREADABLE.search(str(error))
        if found is None:
            raise
        raise BadSource(
            f"{found[2]} cannot be read as Parquet, or is gone ({found[1]}). Put the file right, or take it away and "
            "start again; a stream that had begun with it needs a new checkpoint and output."
        ) from error
