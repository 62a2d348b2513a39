"""CSV files as arrivals: each file whole, columns found by header, each row a JSON object of contract fields."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Contract, LeadField
from features.csv_bytes import charset_of
from features.csv_rows import plain_uri, shape_of, split_options, translated, values_in
from serving.errors import ServingError
from serving.events import batch_date, event_fields

UNKNOWN_COLUMNS = 32  # that a header may have beside the contract's


class UnfitCsv(ServingError):
    """The contract's way of writing CSV cannot be read as a stream."""


def csv_arrivals(files: DataFrame, contract: Contract) -> DataFrame:
    """Arrivals (serving.events.ARRIVAL_COLUMNS) of CSV files that were read by Spark's binaryFile.

    A file is held in memory by one task. UnfitCsv for contracts with values over several lines or a wide character
    set (UTF-16): convert such files to JSON lines, or load them by `prepare` or `score`.
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
    rows = (
        files.select(_about_file().alias("about"), F.filter(lines, lambda line: F.trim(line) != "").alias("lines"))
        .select("about", F.col("lines")[0].alias("header"), F.posexplode("lines").alias("row", "line"))
        .where("row > 0")
    )
    cells = rows.select("*", _cells("header", contract).alias("heads"), _cells("line", contract).alias("cells"))
    judged = cells.select("*", _fault(contract).alias("fault"))
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
        F.url_decode(F.replace(F.col("_metadata.file_name"), F.lit("+"), F.lit("%2B"))).alias("file"),
    )


def _cells(line: str, contract: Contract) -> Column:
    """A line as an array of trimmed texts, as wide as any header may be; null where there is no value."""
    names = [f"c{i}" for i in range(_widest(contract))]
    schema = ", ".join(f"{name} STRING" for name in names)
    parsed = F.from_csv(F.col(line), schema, {**split_options(contract.csv), "mode": "PERMISSIVE"})
    return F.transform(F.array(*(parsed[name] for name in names)), lambda cell: F.trim(cell))


def _widest(contract: Contract) -> int:
    return len(contract.fields) + UNKNOWN_COLUMNS


def _fault(contract: Contract) -> Column:
    """What is wrong with a line, or with the header over it; null where every value has a header."""
    form, headers = contract.csv, values_in(F.col("header"), contract.csv)
    wide = F.when(headers > _widest(contract), f"the header has more than {_widest(contract)} values")
    return F.coalesce(wide, shape_of(F.col("line"), headers, form, otherwise=None))


def _object(fields: Sequence[LeadField]) -> Column:
    """The row as a JSON object of what the header names by name or source."""
    return F.to_json(F.struct(*(_cell(field).alias(field.name) for field in fields)))


def _cell(field: LeadField) -> Column:
    found = [F.array_position("heads", F.lit(key)) for key in dict.fromkeys((field.source.strip(), field.name))]
    return F.coalesce(*(F.when(at > 0, F.get(F.col("cells"), (at - 1).cast("int"))) for at in found))
