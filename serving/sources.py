"""Where leads to score come from: a folder of Parquet files, at once or as they arrive."""

import re

from py4j.protocol import Py4JJavaError
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
        return spark.read.parquet(source)
    except (PySparkException, Py4JJavaError) as error:
        said = str(error).strip().splitlines()[0]
        message = f"the source {source} holds no readable Parquet files of leads ({said}); name another folder."
        raise unreadable_file(error) or BadSource(message) from error


def file_stream(spark: SparkSession, source: str, schema: StructType, max_files: int) -> DataFrame:
    """The files of a folder as a stream, oldest first, at most `max_files` a micro-batch.

    A file must appear whole (write it elsewhere and rename it) and is read once, whatever its age.
    """
    reader = spark.readStream.schema(schema).option("maxFilesPerTrigger", max_files)
    # Spark's default passes over a file that is a week older than the newest one seen.
    return reader.option("maxFileAge", "36500d").parquet(source)


def unreadable_file(error: Exception) -> BadSource | None:
    """The error to show where a job or a query failed because a file could not be read; None for other failures."""
    found = UNREADABLE.search(str(error))
    if found is None:
        return None
    return BadSource(
        f"{found[2]} cannot be read as Parquet, or is gone ({found[1]}). Put the file right, or take it away and start "
        "again; a stream that had begun with it needs a new checkpoint and output."
    )
