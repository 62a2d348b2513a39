"""Prepared data: where it lies, how it is replaced whole, and how an entry point gets it."""

from dataclasses import dataclass
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql.types import StructType

from features.errors import LeadScoringError
from features.storage import Storage, join
from pipelines.settings import Settings

MANIFEST = "manifest.json"


class NotPrepared(LeadScoringError):
    """There is no prepared data, or it belongs to another contract."""


@dataclass(frozen=True)
class Prepared:
    """Train and test leads (the contract's kept columns and `lead_group`) and what prepare said of them."""

    train: DataFrame
    test: DataFrame
    manifest: dict[str, Any]

    @property
    def data_hash(self) -> str:
        """Hash of the train and test leads; equal for equal input, split and seed."""
        return str(self.manifest["data_hash"])


@dataclass(frozen=True)
class Staging:
    """A folder in which a whole new set of data is written before it takes the place of the old one.

    The swap is a list of renames. `finish` may be repeated after a kill at any point: the manifest in
    the staging folder is written last, so a staging folder with a manifest is complete and is rolled
    forward, and one without it is thrown away.
    """

    settings: Settings

    @property
    def root(self) -> str:
        """The staging folder."""
        return join(self.settings.data, ".staging")

    @property
    def targets(self) -> dict[str, str]:
        """Parts of the staging folder and where each goes; the manifest's part is the last to move."""
        return {
            "quarantine": self.settings.quarantine,
            "stream": self.settings.stream,
            "prepared": self.settings.prepared,
        }

    def part(self, *names: str) -> str:
        """URI of a part inside the staging folder."""
        return join(self.root, *names)

    def begin(self, storage: Storage) -> None:
        """Roll an interrupted swap forward, or throw away what an interrupted run had written."""
        self.finish(storage)
        storage.delete(self.root)

    def commit(self, storage: Storage, manifest: dict[str, Any]) -> None:
        """Declare the staging folder complete, and swap."""
        storage.write_json(self.part(MANIFEST), manifest)
        self.finish(storage)

    def finish(self, storage: Storage) -> None:
        """Move every part to its place where the staging folder is complete."""
        if not storage.exists(self.part(MANIFEST)):
            return
        manifest = storage.read_json(self.part(MANIFEST))
        storage.delete(join(self.settings.prepared, MANIFEST))
        for name, target in self.targets.items():
            if storage.exists(self.part(name)):
                storage.delete(target)
                storage.move(self.part(name), target)
        storage.write_json(join(self.settings.prepared, MANIFEST), manifest)
        storage.delete(self.root)


def read_manifest(spark: SparkSession, settings: Settings) -> dict[str, Any] | None:
    """What the last prepare said of its data, or None; an interrupted swap is finished first."""
    storage = Storage(spark)
    Staging(settings).finish(storage)
    where = join(settings.prepared, MANIFEST)
    return storage.read_json(where) if storage.exists(where) else None


def load_prepared(spark: SparkSession, settings: Settings) -> Prepared:
    """Train and test leads; prepares them first, with default parameters and a word about it, where there are none.

    NotPrepared where the prepared data was made by another contract.
    """
    manifest = read_manifest(spark, settings)
    if manifest is None:
        from pipelines.prepare import run_prepare

        print(f"No prepared data in {settings.prepared}: preparing it first (`mlflow run . -e prepare`).")
        manifest = run_prepare(spark, settings).manifest
    contract = settings.contract()
    if manifest["contract_hash"] != contract.digest():
        raise NotPrepared(
            f"the data in {settings.prepared} was prepared by another contract ({manifest['contract_hash']}; "
            f"{settings.contract_file.name} is {contract.digest()}). Run `mlflow run . -e prepare` again."
        )
    try:
        train, test = (_reader(spark, manifest).parquet(join(settings.prepared, side)) for side in ("train", "test"))
    except AnalysisException as error:
        raise NotPrepared(
            f"{settings.prepared} cannot be read ({error}). Run `mlflow run . -e prepare` again."
        ) from None
    return Prepared(train, test, manifest)


def _reader(spark: SparkSession, manifest: dict[str, Any]) -> DataFrameReader:
    """What reads prepared leads, by the columns that prepare wrote: to look for them costs a Spark job per side."""
    known = manifest.get("schema")
    return spark.read.schema(StructType.fromJson(known)) if known else spark.read
