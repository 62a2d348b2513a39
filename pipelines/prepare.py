"""prepare: CSV to train, test, stream and quarantine, by the lead contract."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import mlflow
import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.contract import Contract
from features.errors import LeadScoringError
from features.ingest import Counts, Leads, check_leads, read_leads
from features.sample import load_profile, write_sample
from features.splits import EmptySplit, Split, TrainTest, content_hash, file_number, split_leads
from features.storage import Storage, join
from pipelines.commands import run_command
from pipelines.datasets import Staging, read_manifest
from pipelines.session import spark_session
from pipelines.settings import ROOT, Settings
from pipelines.tracking import connect, tracked_run

REAL_DATA = "Kaggle `amritachatterjee09/lead-scoring-dataset`, file `Lead Scoring.csv`"
SAMPLE = "sample_leads.csv"
ROWS_PER_FILE = 250_000


class AmbiguousCsv(LeadScoringError):
    """Several CSV files lie where one was looked for."""


@dataclass(frozen=True)
class PrepareResult:
    """What prepare left: its manifest, and whether data with the same manifest was there already."""

    manifest: dict[str, Any]
    unchanged: bool


def prepare(
    csv: Annotated[str, typer.Option(help="CSV file, folder or glob; empty: the CSV in data/raw, else a sample")] = "",
    split: Annotated[Split, typer.Option(help="how test leads are chosen")] = Split.GROUPED,
    test_share: Annotated[float, typer.Option(min=0.05, max=0.95, help="share of the leads to test on")] = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="seed of the split and of the sample")] = 42,
    stream_files: Annotated[int, typer.Option(min=1, max=100_000, help="parquet files of the stream side")] = 100,
) -> None:
    """Read leads by the contract, split them, and write train, test, stream and quarantine."""
    settings = Settings()
    with spark_session(settings, "prepare", beside=connect) as spark:
        result = run_prepare(spark, settings, csv, split, test_share, seed, stream_files)
    rows = result.manifest["rows"]
    state = "was already prepared" if result.unchanged else "prepared"
    print(f"{state}: " + ", ".join(f"{count:,} {name}" for name, count in rows.items()) + f" in {settings.data}")


def run_prepare(
    spark: SparkSession,
    settings: Settings,
    csv: str = "",
    split: Split = Split.GROUPED,
    test_share: float = 0.3,
    seed: int = 42,
    stream_files: int = 100,
) -> PrepareResult:
    """Prepare data within a tracked run; the same input, contract and parameters give the same data.

    The stream side holds the test leads, in `stream_files` parquet files. The data in place is replaced
    as a whole, and only when the new data differs from it.
    """
    contract = settings.contract()
    source = csv or default_csv(spark, settings, seed)
    asked = {"split": split.value, "test_share": test_share, "seed": seed, "stream_files": stream_files}
    with tracked_run(settings, "prepare", {**asked, "csv": source}) as _:
        leads = read_leads(spark, source, contract)
        if leads.unknown_columns:
            print(f"Columns that the contract does not name, not read: {', '.join(leads.unknown_columns)}.")
        leads.checked.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            counts = check_leads(leads, contract)
            manifest, unchanged = _write(spark, settings, contract, leads, asked, counts)
        finally:
            leads.checked.unpersist()
        _log(settings, manifest, unchanged)
    return PrepareResult(manifest, unchanged)


def default_csv(spark: SparkSession, settings: Settings, seed: int) -> str:
    """The CSV in data/raw, or a sample made there when there is none; both are said aloud."""
    found = [e.uri for e in Storage(spark).list(settings.raw) if e.name.lower().endswith(".csv") and e.name != SAMPLE]
    if len(found) > 1:
        raise AmbiguousCsv(
            f"{settings.raw} holds {len(found)} CSV files ({', '.join(found[:5])}); name one by -P csv=PATH, "
            f"or all of them by -P csv={join(settings.raw, '*.csv')}."
        )
    if found:
        print(f"Reading {found[0]}.")
        return found[0]
    print(
        f"No CSV in {settings.raw}: using generated sample leads. For the real ones put {REAL_DATA} there, "
        "or name a file by -P csv=PATH."
    )
    profile = load_profile(ROOT / "conf" / "sample_profile.json")
    if ":" not in settings.raw:
        return f"file://{write_sample(Path(settings.raw).resolve() / SAMPLE, profile, seed=seed)}"
    # Executors read it too: it goes where the data goes.
    uri = join(settings.raw, SAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        Storage(spark).put(write_sample(Path(folder) / SAMPLE, profile, seed=seed), uri)
    return uri


def _write(
    spark: SparkSession,
    settings: Settings,
    contract: Contract,
    leads: Leads,
    asked: Mapping[str, Any],
    counts: Counts,
) -> tuple[dict[str, Any], bool]:
    storage, staging = Storage(spark), Staging(settings)
    sides = split_leads(leads.good, contract, Split(asked["split"]), asked["test_share"], asked["seed"])
    before = read_manifest(spark, settings)
    staging.begin(storage)
    manifest = {
        **asked,
        **_describe(sides, contract),
        "contract": contract.name,
        "contract_hash": contract.digest(),
        "schema": sides.train.schema.jsonValue(),
    }
    manifest["rows"] |= {"quarantined": sum(counts.quarantined.values()), "recovered": counts.recovered}
    manifest["quarantined_for"] = counts.quarantined
    if before == manifest:
        return manifest, True
    for name, side in (("train", sides.train), ("test", sides.test)):
        files = 2 + manifest["rows"][name] // ROWS_PER_FILE
        _in_files(side, contract, files, asked["seed"]).write.parquet(staging.part("prepared", name))
    streamed = _in_files(sides.test.drop("lead_group"), contract, asked["stream_files"], asked["seed"])
    streamed.write.parquet(staging.part("stream"))
    leads.quarantined.write.parquet(staging.part("quarantine"))
    staging.commit(storage, manifest)
    return manifest, False


def _in_files(leads: DataFrame, contract: Contract, files: int, seed: int) -> DataFrame:
    """Leads in a fixed number of files and a fixed order within each: a forest's sampling goes by row order."""
    placed = leads.repartitionById(files, file_number(contract, files, seed))
    return placed.sortWithinPartitions(contract.id.name)


def _describe(sides: TrainTest, contract: Contract) -> dict[str, Any]:
    """Rows, conversion rates and content hashes of both sides; EmptySplit where one has not both classes."""
    rows, hashes, rates = {}, [], {}
    for name, side in (("train", sides.train), ("test", sides.test)):
        label = F.col(contract.label.name)
        found = side.agg(
            content_hash(side).alias("hash"), F.count(label).alias("n"), F.avg(label).alias("rate")
        ).first()
        if found is None or not found["n"] or found["rate"] in (0, 1):
            count = found["n"] if found else 0
            raise EmptySplit(
                f"the {name} side holds {count} leads and lacks one of the two classes; both sides need converted "
                "and not converted leads. Give more leads, another test_share or another split."
            )
        rows[name], rates[name] = int(found["n"]), round(float(found["rate"]), 6)
        hashes.append(found["hash"])
    return {"rows": rows, "conversion_rate": rates, "data_hash": "".join(hashes)}


def _log(settings: Settings, manifest: dict[str, Any], unchanged: bool) -> None:
    mlflow.log_metrics({f"rows_{name}": count for name, count in manifest["rows"].items()})
    mlflow.log_metrics({f"conversion_rate_{name}": rate for name, rate in manifest["conversion_rate"].items()})
    mlflow.set_tags({k: manifest[k] for k in ("data_hash", "contract_hash")} | {"unchanged": str(unchanged).lower()})
    mlflow.log_dict(manifest, "manifest.json")
    mlflow.log_artifact(str(settings.contract_file), "contract")


if __name__ == "__main__":
    run_command(prepare)
