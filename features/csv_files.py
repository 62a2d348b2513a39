"""The CSV files behind a path: found by URI, and their heads checked before Spark reads them."""

from pyspark.sql import SparkSession

from features.contract import Contract
from features.csv_checks import HEAD_BYTES, read_header
from features.csv_rows import CsvFile, literal
from features.errors import FeaturesError
from features.storage import Entry, MissingPath, Storage

_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


class NoLeads(FeaturesError):
    """No CSV file was found, or the files hold no row that can be used."""


def find_csv(spark: SparkSession, path: str, contract: Contract, labelled: bool) -> list[CsvFile]:
    """The files of a path (file, folder or glob pattern; any URI) that hold rows, with their headers.

    Of a folder, the files that are called .csv, .tsv or .txt (.gz too) count, not those of its sub-folders.
    Raises MissingPath, NoLeads and what `features.csv_checks` raises.
    """
    storage = Storage(spark)
    files = []
    for entry in _entries(storage, path):
        head = storage.read_head(entry.uri, HEAD_BYTES)
        header = read_header(head, len(head) >= entry.size, entry.name, contract, labelled)
        files.append(CsvFile(entry.uri, header))
    filled = [f for f in files if f.header.has_rows]
    if not filled:
        raise NoLeads(f"{path} holds a header and no rows; export it again.")
    return filled


def _entries(storage: Storage, path: str) -> list[Entry]:
    """Files of a path, in the order of their URIs."""
    exact = storage.exists(path)
    found = [e for e in storage.list(literal(path) if exact else path) if not e.is_folder]
    if exact and storage.is_folder(path):
        named = [e for e in found if e.name.lower().endswith(_SUFFIXES)]
        if not named:
            others = ", ".join(e.name for e in found[:5]) or "no files"
            raise NoLeads(f"{path} holds no CSV (found {others}); put a file whose name ends in .csv there.")
        return named
    if not found:
        raise MissingPath(f"{path} {'cannot be read' if exact else 'does not exist'}; check the path of the CSV.")
    return found
