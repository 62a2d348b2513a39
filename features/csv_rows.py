"""CSV files to rows of text: columns found by header, whole-quoted lines recovered, misshapen rows kept apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from features.blanks import BLANKS
from features.contract import Contract, CsvFormat
from features.csv_bytes import Charset, charset_of
from features.csv_checks import Header

RAW, SOURCE, SHAPE, RECOVERED = "_raw", "_source", "_shape", "_recovered"
_CORRUPT = "_corrupt"
_NO_SPLIT = "the row cannot be split into values"
_OPEN_QUOTE = "a quote is not closed (set csv.multiline if values hold line breaks)"
# Values in quotes keep their spaces here; they are trimmed as values later.
_TRIM_OUTSIDE_QUOTES = {"ignoreLeadingWhiteSpace": "true", "ignoreTrailingWhiteSpace": "true"}
_KEEP_SPACES = {"ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false"}
_GLOB = str.maketrans({c: f"\\{c}" for c in "{}[]*?\\"})


@dataclass(frozen=True)
class CsvFile:
    """A CSV file that has passed the checks of its head."""

    uri: str
    header: Header


def read_rows(spark: SparkSession, files: Sequence[CsvFile], contract: Contract) -> DataFrame:
    """Rows of all files as trimmed text: one string column per kept field (null: not answered), and four more.

    `_raw` is the row's text (as it stands in the file where it could not be split, else put together again),
    `_source` the file's URI, `_shape` what is wrong with the number of values (null: nothing) and `_recovered`
    whether a spreadsheet had quoted the line as a whole. Rows without any value are left out, as blank lines are.
    """
    by_columns: dict[tuple[str, ...], list[CsvFile]] = {}
    for file in files:
        by_columns.setdefault(file.header.columns, []).append(file)
    groups = (_read_group(spark, group, contract) for group in by_columns.values())
    return reduce(DataFrame.unionByName, groups)


def literal(path: str) -> str:
    """A path that Spark and Hadoop take as it is, though it holds characters of glob patterns."""
    return path.translate(_GLOB)


def _read_group(spark: SparkSession, files: Sequence[CsvFile], contract: Contract) -> DataFrame:
    """Rows of files that share one header."""
    form, charset, header = contract.csv, charset_of(contract.csv.encoding), files[0].header
    cells = [f"c{i}" for i in range(len(header.columns))]
    rows = _split_lines(spark, [f.uri for f in files], cells, form, charset)
    found = [(f.name, p) for f in contract.kept if (p := header.position(f)) is not None]
    nulls = [word.strip() for word in contract.nulls]
    # One expression for all cells: an expression per cell outgrows the methods that Spark generates.
    answers = F.transform(
        F.array(*(f"row.c{p}" for _, p in found)), lambda cell: answer(translated(cell, charset), nulls)
    )
    written = F.to_csv(F.struct(*(f"line.{c}" for c in cells)), {**split_options(form), **_KEEP_SPACES})
    raw = F.coalesce(F.col(f"line.{_CORRUPT}"), written)
    broken = F.col(f"row.{_CORRUPT}")
    shape = F.when(broken.isNotNull(), shape_of(broken, F.lit(len(cells)), form))
    answered = rows.select(
        answers.alias("answers"), translated(raw, charset).alias(RAW), shape.alias(SHAPE), SOURCE, RECOVERED
    )
    absent = {f.name for f in contract.kept} - {name for name, _ in found}
    return answered.select(
        *(F.col("answers")[i].alias(name) for i, (name, _) in enumerate(found)),
        *(F.lit(None).cast("string").alias(name) for name in sorted(absent)),
        *(RAW, SOURCE, SHAPE, RECOVERED),
    )


def _split_lines(
    spark: SparkSession, uris: Sequence[str], cells: list[str], form: CsvFormat, charset: Charset
) -> DataFrame:
    """Lines as `line` (struct of the cells and `_corrupt`), and `row`: the same, or what a whole-quoted line holds."""
    names = [*cells, _CORRUPT]
    parse = {
        **split_options(form),
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": _CORRUPT,
        **_TRIM_OUTSIDE_QUOTES,
    }
    lines = (
        spark.read.options(**parse, header=True, enforceSchema=True, columnPruning=False)
        .options(encoding=charset.name, multiLine=form.multiline or charset.wide)
        .schema(StructType([StructField(name, StringType()) for name in names]))
        .csv([literal(uri) for uri in uris])
        .where(F.coalesce(*names).isNotNull())
        .select(F.struct(*names).alias("line"), plain_uri(F.col("_metadata.file_path")).alias(SOURCE))
    )
    schema = ", ".join(f"{name} STRING" for name in names)
    inner = F.when(_quoted_whole(cells, form), F.from_csv(F.col("line.c0"), schema, parse))
    inside = F.col("inner").isNotNull() & F.col(f"inner.{_CORRUPT}").isNull()
    row = F.when(inside, F.col("inner")).otherwise(F.col("line"))
    return lines.select("line", SOURCE, inner.alias("inner")).select(
        "line", SOURCE, inside.alias(RECOVERED), row.alias("row")
    )


def split_options(form: CsvFormat) -> dict[str, str]:
    """How Spark splits a line, and puts one together."""
    return {"sep": form.delimiter, "quote": form.quote, "escape": form.quote, "nullValue": "", "emptyValue": ""}


def translated(text: Column, charset: Charset) -> Column:
    """Text of a character set that Spark cannot decode, from the bytes that were read as ISO-8859-1."""
    if not charset.translation:
        return text
    return F.translate(text, "".join(charset.translation), "".join(charset.translation.values()))


def answer(cell: Column, nulls: list[str]) -> Column:
    """A cell trimmed, and null where it holds one of the (trimmed) null words of a contract."""
    return not_one_of(nulls, trimmed(cell))


def trimmed(cell: Column) -> Column:
    """A cell without blanks (of all kinds) before and after; empty where it is null."""
    return F.trim(F.coalesce(cell, F.lit("")), F.lit(BLANKS))


def not_one_of(nulls: list[str], text: Column) -> Column:
    """A trimmed text, null where it is a null word."""
    return F.when(~text.isin(nulls), text)


def _quoted_whole(cells: list[str], form: CsvFormat) -> Column:
    """Whether the only value of a line holds delimiters: a spreadsheet put the line into one pair of quotes.

    A line that could not be split must also end with the quote, or it is one whose quote was never closed.
    """
    alone = F.coalesce(*(f"line.{c}" for c in cells[1:])).isNull()
    broken = F.rtrim(F.col(f"line.{_CORRUPT}"), F.lit(f"{form.delimiter} \r\n"))
    closed = broken.isNull() | (F.endswith(broken, F.lit(form.quote)) & (F.length(broken) > 1))
    return alone & F.contains(F.col("line.c0"), F.lit(form.delimiter)) & closed


def shape_of(line: Column, headers: Column, form: CsvFormat, otherwise: str | None = _NO_SPLIT) -> Column:
    """What is wrong with a line that does not split into as many values as there are headers."""
    found = values_in(line, form)
    under = F.concat(found, F.lit(" under "), headers, F.lit(" headers"))
    return (
        F.when(_count(line, form.quote) % 2 == 1, _OPEN_QUOTE)
        .when(found < headers, F.concat(F.lit("too few values: "), under))
        .when(found > headers, F.concat(F.lit("too many values: "), under))
        .otherwise(F.lit(otherwise))
    )


def values_in(line: Column, form: CsvFormat) -> Column:
    """The number of values of a line whose quotes are closed."""
    quote = re.escape(form.quote)
    return _count(F.regexp_replace(line, f"{quote}[^{quote}]*{quote}", ""), form.delimiter) + 1


def _count(text: Column, character: str) -> Column:
    return F.length(text) - F.length(F.replace(text, F.lit(character), F.lit("")))


def plain_uri(uri: Column) -> Column:
    """A file's URI without the escapes (%20) of Spark's metadata column."""
    return F.url_decode(F.replace(uri, F.lit("+"), F.lit("%2B")))
