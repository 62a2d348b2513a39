"""CSV files to rows of text: columns found by header, whole-quoted lines recovered, misshapen rows kept apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from features.contract import Contract
from features.csv_bytes import Charset, charset_of
from features.csv_checks import Header

RAW, SOURCE, SHAPE, RECOVERED = "_raw", "_source", "_shape", "_recovered"
_CORRUPT = "_corrupt"
_WHITESPACE = " \t\r\n\f\v\u00a0\u202f\ufeff"
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
    schema = StructType([StructField(c, StringType()) for c in (*cells, _CORRUPT)])
    split = {"sep": form.delimiter, "quote": form.quote, "escape": form.quote, "nullValue": "", "emptyValue": ""}
    parse = {
        **split,
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": _CORRUPT,
        # Off for values in quotes: those keep their spaces until they are trimmed as values.
        "ignoreLeadingWhiteSpace": "true",
        "ignoreTrailingWhiteSpace": "true",
    }
    lines = (
        spark.read.options(**parse, header=True, enforceSchema=True, columnPruning=False)
        .options(encoding=charset.name, multiLine=form.multiline or charset.wide)
        .schema(schema)
        .csv([literal(f.uri) for f in files])
        .select(F.struct(*cells, _CORRUPT).alias("line"), _plain_uri(F.col("_metadata.file_path")).alias(SOURCE))
        .where(F.coalesce(*(F.col(f"line.{c}") for c in (*cells, _CORRUPT))).isNotNull())
    )
    ddl = ", ".join(f"{c} STRING" for c in (*cells, _CORRUPT))
    inner = F.when(_quoted_whole(cells, form.delimiter, form.quote), F.from_csv(F.col("line.c0"), ddl, parse))
    inside = F.col("inner").isNotNull() & F.col(f"inner.{_CORRUPT}").isNull()
    rows = lines.select("line", SOURCE, inner.alias("inner")).select(
        "line", SOURCE, inside.alias(RECOVERED), F.when(inside, F.col("inner")).otherwise(F.col("line")).alias("row")
    )
    written = F.to_csv(
        F.struct(*(F.col(f"line.{c}") for c in cells)),
        {**split, "ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false"},
    )
    raw = translated(F.coalesce(F.col(f"line.{_CORRUPT}"), written), charset)
    broken = F.col(f"row.{_CORRUPT}")
    return rows.select(
        *(_answer(header.position(f), contract, charset).alias(f.name) for f in contract.kept),
        raw.alias(RAW),
        SOURCE,
        F.when(broken.isNotNull(), _shape_of(broken, len(cells), form.delimiter, form.quote)).alias(SHAPE),
        RECOVERED,
    )


def translated(text: Column, charset: Charset) -> Column:
    """Text of a character set that Spark cannot decode, from the bytes that were read as ISO-8859-1."""
    if not charset.translation:
        return text
    return F.translate(text, "".join(charset.translation), "".join(charset.translation.values()))


def _answer(position: int | None, contract: Contract, charset: Charset) -> Column:
    """A cell trimmed, and null where it holds one of the contract's null words; null for a column that is not there."""
    if position is None:
        return F.lit(None).cast("string")
    text = F.coalesce(translated(F.col(f"row.c{position}"), charset), F.lit(""))
    trimmed = F.trim(text, F.lit(_WHITESPACE))
    return F.when(~trimmed.isin([word.strip() for word in contract.nulls]), trimmed)


def _quoted_whole(cells: list[str], delimiter: str, quote: str) -> Column:
    """Whether the only value of a line holds delimiters: a spreadsheet put the line into one pair of quotes.

    A line that could not be split must also end with the quote, or it is one whose quote was never closed.
    """
    alone = F.coalesce(*(F.col(f"line.{c}") for c in cells[1:])).isNull() if cells[1:] else F.lit(True)
    broken = F.rtrim(F.col(f"line.{_CORRUPT}"), F.lit(f"{delimiter} \r\n"))
    closed = broken.isNull() | (F.endswith(broken, F.lit(quote)) & (F.length(broken) > 1))
    return alone & F.contains(F.col("line.c0"), F.lit(delimiter)) & closed


def _shape_of(line: Column, expected: int, delimiter: str, quote: str) -> Column:
    """What is wrong with a line that does not split into as many values as the header has."""
    bare = F.regexp_replace(line, f"\\Q{quote}\\E[^\\Q{quote}\\E]*\\Q{quote}\\E", "")
    found = _count(bare, delimiter) + 1
    return (
        F.when(
            _count(line, quote) % 2 == 1, F.lit("a quote is not closed (set csv.multiline if values hold line breaks)")
        )
        .when(found < expected, F.concat(F.lit("too few values: "), found, F.lit(f" under {expected} headers")))
        .when(found > expected, F.concat(F.lit("too many values: "), found, F.lit(f" under {expected} headers")))
        .otherwise(F.lit("the row cannot be split into values"))
    )


def _count(text: Column, character: str) -> Column:
    return F.length(text) - F.length(F.replace(text, F.lit(character), F.lit("")))


def _plain_uri(uri: Column) -> Column:
    """A file's URI without the escapes (%20) of Spark's metadata column."""
    return F.url_decode(F.replace(uri, F.lit("+"), F.lit("%2B")))
