"""Where leads to score come from: files of Parquet, JSON lines or CSV and Kafka, as arrivals; Parquet also at once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pydantic import BaseModel, Field
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.readwriter import DataStreamReader
from pyspark.sql.types import StringType, StructType

from features.contract import Contract
from features.csv_rows import plain_uri
from features.storage import Storage
from serving.csv_source import csv_arrivals, csv_lines
from serving.errors import ServingError
from serving.events import EVENT_ID, batch_date, event_fields, event_schema
from serving.far_records import with_far_records
from serving.kafka import KafkaOptions, header

Reader = TypeVar("Reader", DataFrameReader, DataStreamReader)
UNREADABLE = re.compile(r"\[(FAILED_READ_FILE[^\]]*)\] Encountered error while reading file (.+?)\. ")
NOT_UTF8 = "the event is not UTF-8"
BINARY_FILE = "path string, modificationTime timestamp, length long, content binary"
FILE_URI = "_metadata.file_path"
# A whole export in one line would end Java, at every start again: an event takes some 25 times its size in memory, and
# a line that is read some four times. Of a file and, as JSON is packed to a sixteenth, of one that is compressed.
MOST_EVENT_BYTES, MOST_JSON_BYTES, MOST_PACKED_BYTES = 8 << 20, 128 << 20, 8 << 20
PACKED = r"\.(gz|bz2|zst|lz4|snappy|deflate)$"


class BadSource(ServingError):
    """The folder that leads are read from is missing, empty or unreadable, or one of its files is."""


class FileFormat(StrEnum):
    """How the files of a folder are written."""

    PARQUET = "parquet"
    JSON = "json"
    CSV = "csv"


class FileOptions(BaseModel, frozen=True, extra="forbid"):
    """A folder that files of leads arrive in, each whole (written elsewhere and renamed) and under a new name."""

    folder: str = Field(min_length=1, description="folder or URI; it may be empty")
    format: FileFormat = Field(
        FileFormat.PARQUET, description="parquet, json (an object a line) or csv (with a header)"
    )
    max_files: int = Field(1, ge=1, description="most files in a micro-batch")


class TopicOptions(BaseModel, frozen=True, extra="forbid"):
    """Kafka topics of leads as JSON."""

    kafka: KafkaOptions = Field(description="the cluster")
    topics: str = Field(min_length=1, description="topic, or comma-separated list of topics")
    starting_offsets: str = Field(
        "earliest", description="earliest, latest, or Spark's JSON of offsets; first start only"
    )
    max_offsets: int | None = Field(None, ge=1, description="most events in a micro-batch; None: no bound")
    fail_on_data_loss: bool = Field(True, description="end the query where offsets that it has not read are gone")


SourceOptions = FileOptions | TopicOptions


def arrivals(spark: SparkSession, source: SourceOptions, contract: Contract) -> DataFrame:
    """The stream of what arrives at a source, as `serving.events` takes it (ARRIVAL_COLUMNS).

    The schema of files follows from the contract, so a folder may be empty at the start. Files that cannot be read
    give no rows and end nothing: `serving.file_account` says afterwards which they were.
    """
    if isinstance(source, TopicOptions):
        return kafka_arrivals(topic_stream(spark, source))
    if source.format is FileFormat.JSON:
        # Spark refuses row numbers in a stream, as every batch counts anew; here they number the lines of its files.
        spark.conf.set("spark.sql.streaming.unsupportedOperationCheck", "false")
    return file_arrivals(_file_reader(spark, source), source, contract)


def file_arrivals(reader: Reader, source: FileOptions, contract: Contract) -> DataFrame:
    """Arrivals of files, by a reader of a stream or of a batch."""
    if source.format is FileFormat.PARQUET:
        rows = reader.schema(event_schema(contract)).format("parquet").load(source.folder)
        texts = [F.octet_length(f.name) for f in rows.schema.fields if isinstance(f.dataType, StringType)]
        size = sum((F.coalesce(text, F.lit(0)) for text in texts), F.lit(0).cast("long"))
        text = F.when(size <= MOST_EVENT_BYTES, F.to_json(F.struct(*rows.columns)))
        return rows.select(*_of_file(text, _too_long(size), F.col("_metadata.row_index")))
    files = text_reader(reader, source.format).load(source.folder)
    if source.format is FileFormat.CSV:
        return csv_arrivals(csv_lines(files, contract), contract)
    size = F.octet_length("value")
    fault = F.coalesce(_too_long(size), F.when(~F.is_valid_utf8("value"), NOT_UTF8))
    text = F.when(size <= MOST_EVENT_BYTES, F.make_valid_utf8("value"))
    # Blank lines count as lines.
    return (
        files.where(_is_of_json()).select(*_of_file(text, fault, _line())).where(F.coalesce(_not_blank(), F.lit(True)))
    )


def text_reader(reader: Reader, form: FileFormat) -> Reader:
    """A reader of files of JSON lines or CSV."""
    return reader.schema(BINARY_FILE).format("binaryFile") if form is FileFormat.CSV else reader.format("text")


def text_lines(files: DataFrame, form: FileFormat, contract: Contract) -> DataFrame:
    """What `text_reader` loads, as one row for each event."""
    return csv_lines(files, contract) if form is FileFormat.CSV else files.where(_is_of_json() & _not_blank())


def _is_of_json() -> Column:
    """Whether a file is within the limit; Spark asks that of its listing, and reads no other."""
    packed = F.col("_metadata.file_name").rlike(PACKED)
    limit = F.when(packed, MOST_PACKED_BYTES).otherwise(MOST_JSON_BYTES)
    return F.col("_metadata.file_size") <= limit


def _too_long(size: Column) -> Column:
    """The fault of an event of more bytes than one may have; null for others."""
    said = f" bytes, at most {MOST_EVENT_BYTES:,}"
    told = F.concat(F.lit("the event is too long: "), F.format_number(size, 0), F.lit(said))
    return F.when(size > MOST_EVENT_BYTES, told)


def _not_blank() -> Column:
    return F.trim("value") != ""


def _line() -> Column:
    """A number that grows from line to line of a text file.

    It is the line's, from 0, where the file is below 4 MiB (spark.sql.files.openCostInBytes) and alone in its batch:
    else a task may have read other files before, and each part of a file counts anew, 2**33 and more above the last.
    """
    part = F.shiftright(F.col("_metadata.file_block_start"), 20)
    return F.shiftleft(part, 33) + F.monotonically_increasing_id().bitwiseAND(F.lit(2**33 - 1))


def kafka_arrivals(records: DataFrame) -> DataFrame:
    """Arrivals of Kafka records that were read with their headers."""
    text = F.col("value").cast("string")
    return records.select(
        F.make_valid_utf8(text).alias("value"),
        F.try_validate_utf8(F.col("key").cast("string")).alias("key"),
        header(EVENT_ID).alias("given_id"),
        header("event_time").alias("given_time"),
        F.col("timestamp").alias("arrived_at"),
        F.concat_ws("/", "topic", "partition", "offset").alias("origin"),
        F.col("offset").alias("position"),
        F.lit(None).cast("string").alias("file"),
        F.when(~F.is_valid_utf8(text), NOT_UTF8).alias("fault"),
        batch_date(),
    )


def as_records(leads: DataFrame, contract: Contract) -> DataFrame:
    """Leads as the Kafka records that would bring them: JSON by the names of the contract, keyed by id."""
    names = [f.name for f in event_fields(contract) if f.name in leads.columns]
    return leads.select(
        F.lit("leads").alias("topic"),
        F.lit(0).alias("partition"),
        F.monotonically_increasing_id().alias("offset"),
        F.current_timestamp().alias("timestamp"),
        F.col(contract.id.name).cast("binary").alias("key"),
        F.to_json(F.struct(*names)).cast("binary").alias("value"),
        F.lit(None).cast("array<struct<key:string,value:binary>>").alias("headers"),
    )


def no_events(spark: SparkSession) -> DataFrame:
    """Arrivals of one event that is none, as those of Kafka records; Spark does not know beforehand that it is none."""
    text = F.concat(F.lit("no event "), F.col("id").cast("string")).cast("binary")
    return kafka_arrivals(
        spark.range(1, numPartitions=1).select(
            F.lit("none").alias("topic"),
            F.lit(0).alias("partition"),
            F.col("id").alias("offset"),
            F.current_timestamp().alias("timestamp"),
            *(text.alias(name) for name in ("key", "value")),
            F.array(F.struct(F.lit("none").alias("key"), text.alias("value"))).alias("headers"),
        )
    )


def topic_stream(spark: SparkSession, source: TopicOptions) -> DataFrame:
    """The records of Kafka topics as a stream, with their headers."""
    options = {
        "subscribe": source.topics,
        "startingOffsets": source.starting_offsets,
        "includeHeaders": "true",
        "failOnDataLoss": str(source.fail_on_data_loss).lower(),
    }
    if source.max_offsets is not None:
        options["maxOffsetsPerTrigger"] = str(source.max_offsets)
    return with_far_records(spark.readStream.format("kafka").options(**source.kafka.reader(), **options).load())


def _file_reader(spark: SparkSession, source: FileOptions) -> DataStreamReader:
    reader = spark.readStream.options(ignoreCorruptFiles=True, ignoreMissingFiles=True)
    # Spark's default passes over a file that is a week older than the newest one seen.
    return reader.options(maxFilesPerTrigger=source.max_files, maxFileAge="36500d")


def _of_file(value: Column, fault: Column, position: Column) -> list[Column]:
    return [
        value.alias("value"),
        *(F.lit(None).cast("string").alias(name) for name in ("key", "given_id", "given_time")),
        F.col("_metadata.file_modification_time").alias("arrived_at"),
        plain_uri(F.col(FILE_URI)).alias("origin"),
        position.cast("long").alias("position"),
        plain_uri(F.col("_metadata.file_name")).alias("file"),
        fault.cast("string").alias("fault"),
        batch_date(),
    ]


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
