"""CSV files as arrivals: each file whole, columns found by header, each row a JSON object of contract fields."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Contract, LeadField
from features.csv_bytes import charset_of
from features.csv_rows import plain_uri, shape_of, split_options, translated, values_in
from serving.errors import ServingError
from serving.events import batch_date, event_fields

MOST_CSV_BYTES = 32 * 2**20  # of a file
UNKNOWN_COLUMNS = 32  # that a header may have beside the contract's


class UnfitCsv(ServingError):
    """The contract's way of writing CSV cannot be read as a stream."""


def csv_lines(files: DataFrame, contract: Contract) -> DataFrame:
    """The lines under the headers of CSV files that were read by Spark's binaryFile: one row each, not yet split.

    A file is held in memory by one task; one of more than MOST_CSV_BYTES gives none. UnfitCsv for contracts with values
    over several lines or a wide character set (UTF-16): convert such files to JSON lines, or load them by `prepare` or
    `score`.
    """
    charset = charset_of(contract.csv.encoding)
    if contract.csv.multiline or charset.wide:
        raise UnfitCsv(
            f"the contract {contract.name!r} has csv.multiline or the encoding {contract.csv.encoding}: such files do "
            "not split into rows as a stream. Write JSON lines (format=json) or Parquet, or score them by `score`."
        )
    if charset.name == "UTF-8":
        text = F.make_valid_utf8(F.col("content").cast("string"))
    else:
        text = translated(F.decode("content", charset.name), charset)
    lines = F.split(F.regexp_replace(text, "^\ufeff", ""), "\r\n|\n|\r")
    by_file = (
        files.where(F.col("length") <= MOST_CSV_BYTES)
        .select(_about_file().alias("about"), F.filter(lines, lambda line: F.trim(line) != "").alias("lines"))
        # The header in a projection of its own: beside posexplode, each row would carry all lines of its file.
        .select("about", "lines", F.col("lines")[0].alias("header"))
    )
    headed = _split(by_file, "header", contract).select(
        "about", "lines", _places(contract).alias("places"), values_in(F.col("header"), contract.csv).alias("headers")
    )
    return headed.select("about", "places", "headers", F.posexplode("lines").alias("row", "line")).where("row > 0")


def csv_arrivals(lines: DataFrame, contract: Contract) -> DataFrame:
    """Lines of CSV files (`csv_lines`) as arrivals (serving.events.ARRIVAL_COLUMNS)."""
    judged = _split(lines, "line", contract).select("*", _fault(contract).alias("fault"))
    return judged.select(
        F.when(F.col("fault").isNull(), _object(event_fields(contract))).otherwise(F.col("line")).alias("value"),
        *(F.lit(None).cast("string").alias(name) for name in ("key", "given_id", "given_time")),
        "about.arrived_at",
        "about.origin",
        F.col("row").cast("long").alias("position"),
        "about.file",
        "fault",
        batch_date(),
    )


def _about_file() -> Column:
    return F.struct(
        F.col("_metadata.file_modification_time").alias("arrived_at"),
        plain_uri(F.col("_metadata.file_path")).alias("origin"),
        plain_uri(F.col("_metadata.file_name")).alias("file"),
    )


def _split(rows: DataFrame, line: str, contract: Contract) -> DataFrame:
    """With `cells`: a line as an array of texts, as wide as any header may be; null where there is no value.

    Parsed in a generator, whose result Spark takes as it is: an expression it would repeat for each cell.
    """
    names = [f"c{i}" for i in range(_widest(contract))]
    schema = ", ".join(f"{name} STRING" for name in names)
    parsed = F.from_csv(F.col(line), schema, {**split_options(contract.csv), "mode": "PERMISSIVE"})
    return rows.select("*", F.inline(F.array(parsed))).select(*rows.columns, F.array(*names).alias("cells"))


def _widest(contract: Contract) -> int:
    return len(contract.fields) + UNKNOWN_COLUMNS


def _places(contract: Contract) -> Column:
    """For each field of an event its place in a header, from 0: that of its source, else of its name; or null."""
    heads = F.transform("cells", lambda cell: F.trim(cell))
    return F.struct(*(_place(field, heads).alias(field.name) for field in event_fields(contract)))


def _place(field: LeadField, heads: Column) -> Column:
    keys = dict.fromkeys((field.source.strip(), field.name))
    return F.coalesce(*(F.nullif(F.array_position(heads, F.lit(key)), F.lit(0)) for key in keys)).cast("int") - 1


def _fault(contract: Contract) -> Column:
    """What is wrong with a line, or with the header over it; null where every value has a header."""
    headers = F.col("headers")
    wide = F.when(headers > _widest(contract), f"the header has more than {_widest(contract)} values")
    return F.coalesce(wide, shape_of(F.col("line"), headers, contract.csv, otherwise=None))


def _object(fields: Sequence[LeadField]) -> Column:
    """The row as a JSON object of what the header names by name or source."""
    return F.to_json(F.struct(*(F.trim(F.get("cells", F.col("places")[f.name])).alias(f.name) for f in fields)))
