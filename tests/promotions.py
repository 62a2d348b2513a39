"""A registry of small Spark models to promote: good ones, and those that a gate has to refuse."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import IsotonicRegression
from pyspark.sql import SparkSession

from features.splits import with_group
from features.stages import ForestParams, pipeline
from features.storage import Storage
from pipelines.gate_bench import LEAKS
from pipelines.promote import run_promote
from pipelines.settings import Settings
from pipelines.tracking import LoggedModel, connect, log_model, register_model
from serving.registry import move_production, resolve, versions
from tests.leads import SMALL, small_contract, small_leads

DATA_HASH = "0123456789abcdef"
# The small forests are not calibrated, and a busy machine must not refuse them for their time.
GATE = "newest_share: 1.0\nmin_auc: 0.6\nmin_test_leads: 50\nmax_ece: 0.1\nmax_cost_factor: 50.0\n"
CONTRACT = SMALL + "slice_by: [City]\n"
# The fields and the forest of each model. `weak` knows too little to be promoted over `good`; `shy` is `good` with
# every probability cubed.
MODELS = {
    "good": (("Visits", "Seconds", "City"), ForestParams(trees=10, depth=4)),
    "weak": (("City",), ForestParams(trees=2, depth=2)),
    "leaky": (("Visits", "City", "Tag"), ForestParams(trees=10, depth=4)),
    "shy": (("Visits", "Seconds", "City"), ForestParams(trees=10, depth=4)),
}


# Tags by which every judged version, passed or refused, names its last audit.
AUDITED = ("gate_run_id", "gate_report", "gate_result")


def said_of(model: str, auc: float) -> dict[str, str]:
    """Tags of a version as train leaves them."""
    names = MODELS[model][0]
    late = ",".join(small_contract().late_fields(names))
    return {"features": ",".join(names), "late_fields": late, "data_hash": DATA_HASH, "test_auc_roc": f"{auc:.6f}"}


def leaks(names: tuple[str, ...], *suspects: str) -> dict:
    """A leak report on these fields."""
    accused = [{"field": s, "sentence": f"{s} knows too much.", "declared_late": False} for s in suspects]
    return {"fields": [{"name": n} for n in names], "suspects": accused}


@dataclass(frozen=True)
class Registry:
    """A model of one test, its versions taken from the models logged once for all tests."""

    spark: SparkSession
    settings: Settings
    logged: dict[str, LoggedModel]
    client: MlflowClient

    def add(self, model: str, auc: float, **tags: str) -> int:
        """Register a version as train does; keyword arguments replace tags."""
        return register_model(self.settings.model_name, self.logged[model], said_of(model, auc) | tags)

    def add_with_leaks(self, model: str, leaks: dict | None) -> int:
        """Register a version whose run holds this leak report, or none."""
        first = resolve(self.client, self.settings.model_name, str(self.add(model, 0.75)))
        source = self.client.get_model_version(first.name, str(first.version)).source
        with mlflow.start_run(run_name="other leaks") as run:
            if leaks is not None:
                mlflow.log_dict(leaks, LEAKS)
        made = self.client.create_model_version(first.name, source, run.info.run_id, tags=said_of(model, 0.75))
        return int(made.version)

    def promote(self, *args, **kwargs):
        return run_promote(self.spark, self.settings, *args, **kwargs)

    def serve(self, version: int) -> None:
        """Put a version into Production past the gate."""
        signed = {"reason": "test", "who": "test", "now": datetime.now(UTC)}
        move_production(self.client, self.settings.model_name, version, gate={}, **signed)

    def state(self):
        """All that a promotion may change."""
        name = self.settings.model_name
        aliases = {a: int(n) for a, n in self.client.get_registered_model(name).aliases.items()}
        kept = [
            (v.version, v.stage, {k: t for k, t in v.tags.items() if k not in AUDITED})
            for v in versions(self.client, name)
        ]
        return aliases, kept

    @property
    def production(self) -> int:
        return resolve(self.client, self.settings.model_name).version

    def audit(self):
        """The latest audit run."""
        found = self.client.get_experiment_by_name(self.settings.experiment)
        return self.client.search_runs([found.experiment_id], order_by=["attributes.start_time DESC"], max_results=1)[0]

    def artifact(self, path: str) -> str:
        """An artifact of the latest audit run."""
        return mlflow.artifacts.load_text(f"{self.audit().info.artifact_uri}/{path}")


def cubing(spark: SparkSession) -> Transformer:
    """A calibration that keeps the order of leads and falsifies their rates: p becomes its cube."""
    points = [(Vectors.dense([1 - i / 20, i / 20]), (i / 20) ** 3) for i in range(21)]
    frame = spark.createDataFrame(points, ["probability", "rate"])
    calibration = IsotonicRegression(
        featuresCol="probability", featureIndex=1, labelCol="rate", predictionCol="calibrated"
    )
    return calibration.fit(frame)


@contextmanager
def logged_models(spark: SparkSession, folder: Path) -> Iterator[tuple[Settings, dict[str, LoggedModel]]]:
    """Prepared leads, a lenient gate, and each of MODELS logged once; MLflow points at their store inside the block."""
    (folder / "leads.yaml").write_text(CONTRACT, encoding="utf-8")
    (folder / "gate.yaml").write_text(GATE, encoding="utf-8")
    settings = Settings(
        data=str(folder / "data"),
        contract_file=folder / "leads.yaml",
        gate_file=folder / "gate.yaml",
        experiment="small",
    )
    contract = settings.contract()
    train, test = (with_group(small_leads(spark, n, seed).coalesce(1), contract) for n, seed in ((1500, 1), (600, 2)))
    train.write.parquet(f"{settings.prepared}/train")
    test.write.parquet(f"{settings.prepared}/test")
    manifest = {
        "data_hash": DATA_HASH,
        "contract_hash": contract.digest(),
        "rows": {"train": 1500, "test": 600},
    }
    Storage(spark).write_json(f"{settings.prepared}/manifest.json", manifest)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    connect(settings).create_experiment("small", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("small")
    fields, logged = {f.name: f for f in small_contract().features}, {}
    for name, (names, params) in MODELS.items():
        chosen = tuple(fields[n] for n in names)
        model = pipeline(chosen, params, "Bought").fit(train)
        if name == "shy":
            model = PipelineModel(stages=[*model.stages, cubing(spark)])
        with mlflow.start_run(run_name=name):
            mlflow.log_dict(leaks(names), LEAKS)
            logged[name] = log_model(model, chosen, train)
    try:
        yield settings, logged
    finally:
        mlflow.set_tracking_uri(before)
