"""sweep_hyperopt: forests by TPE, a nested run per trial; an interrupted sweep resumes with its finished trials."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import mlflow
import typer
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pyspark.sql import SparkSession

from evaluation import sweep_plots
from evaluation.fitting import Finish, fit_servable
from evaluation.leakage import OnLeak
from evaluation.search import Candidate, Encoded, cross_validate_one
from evaluation.tpe import SearchSpace, Trial, best, restored, search
from features.contract_file import load_yaml
from features.stages import ForestParams
from pipelines.candidates import Metric, Picked, log_candidate, log_table
from pipelines.commands import Switch, run_command
from pipelines.datasets import Prepared, load_prepared
from pipelines.leaks import probed_leads
from pipelines.reporting import Fitted, Reported, report
from pipelines.session import spark_session
from pipelines.settings import ROOT, Settings
from pipelines.tracking import connect, log_figures, tracked_run
from pipelines.training import summary

SPACE = ROOT / "conf" / "search_space.yaml"


@dataclass(frozen=True)
class Sweep:
    """What a hyperopt sweep was asked for; two sweeps with the same key try the same settings.

    `space_file` is where `space` was read, if it was: how the command can be asked for the same.
    """

    features: str
    space: SearchSpace
    max_evals: int = 20
    folds: int = 3
    parallelism: int = 2
    patience: int = 10
    metric: Metric = "auc_roc"
    seed: int = 42
    space_file: Path | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What the run logs: the command's parameters, a file of the repository by its path in there."""
        names = ("features", "max_evals", "folds", "parallelism", "patience", "metric", "seed")
        asked = {name: getattr(self, name) for name in names}
        if self.space_file is None:
            return asked
        whole = self.space_file.resolve()
        return {**asked, "space": whole.relative_to(ROOT).as_posix() if whole.is_relative_to(ROOT) else str(whole)}

    @property
    def base(self) -> ForestParams:
        """The setting that the searched parameters are changed in."""
        return ForestParams(seed=self.seed)

    def key(self, data: Prepared) -> str:
        """What a trial's result depends on; max_evals, patience and parallelism may differ between two starts."""
        parts = [self.features, self.space.model_dump(), self.folds, self.metric, self.seed]
        parts += [data.data_hash, data.manifest["contract_hash"]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def sweep_hyperopt(
    features: Annotated[str, typer.Option(help="feature set of the contract")] = "available",
    max_evals: Annotated[int, typer.Option(min=1, max=10_000, help="trials in all")] = 20,
    space: Annotated[Path, typer.Option(help="YAML file of the search space")] = SPACE,
    folds: Annotated[int, typer.Option(min=2, max=20, help="folds that a candidate is judged on")] = 3,
    parallelism: Annotated[int, typer.Option(min=1, max=64, help="folds at a time")] = 2,
    patience: Annotated[int, typer.Option(min=0, help="trials without a better one before the end; 0: never")] = 10,
    metric: Annotated[Metric, typer.Option(help="what the winner has most of")] = "auc_roc",
    seed: Annotated[int, typer.Option(min=0, help="seed of the folds, trials and forests")] = 42,
    on_leak: Annotated[OnLeak, typer.Option(help="what a suspected leak does to a registration")] = OnLeak.REFUSE,
    register: Annotated[Switch, typer.Option(help="make a registry version of the winner")] = Switch.TRUE,
) -> None:
    """Search forest settings by the tree-structured Parzen estimator."""
    settings = Settings()
    searched = load_yaml(space, SearchSpace)
    asked = Sweep(features, searched, max_evals, folds, parallelism, patience, metric, seed, space)
    settings.contract().feature_set(features)
    with spark_session(settings, "sweep_hyperopt", beside=connect) as spark:
        print(summary(run_sweep_hyperopt(spark, settings, asked, bool(register), on_leak)))


def run_sweep_hyperopt(
    spark: SparkSession,
    settings: Settings,
    sweep: Sweep,
    register: bool = True,
    on_leak: OnLeak = OnLeak.REFUSE,
    explain: bool = True,
) -> Reported:
    """Search within a parent run; the best setting is refitted on all train leads, evaluated and registered.

    Trials that an interrupted sweep with the same key had finished are taken over: their nested runs
    move under the new parent.
    """
    contract = settings.contract()
    fields = contract.feature_set(sweep.features)
    data = load_prepared(spark, settings)
    key = sweep.key(data)
    params = {**sweep.asked, "on_leak": on_leak, "register": Switch.of(register)}
    with tracked_run(settings, "sweep_hyperopt", params, tags={"sweep_key": key}) as run:
        with probed_leads(contract, data, sweep.features, sweep.folds, sweep.seed, register, on_leak) as leads:
            mlflow.log_dict(sweep.space.model_dump(), "search_space.json")
            candidates = _taken_over(connect(settings), sweep, key, run.info)
            mlflow.set_tag("resumed_trials", len(candidates))
            trials = _search(settings, sweep, key, leads, candidates)
            winner = candidates[best(trials).number][1]
            finish = Finish(grades=settings.grade_rule(), parallelism=sweep.parallelism)
            fitted = fit_servable(leads, winner.params, finish)
        ordered = [candidates[trial.number][1] for trial in trials]
        log_table(ordered, sweep.metric)
        _log_pictures(ordered, sweep, run.info.run_id)
        Picked(winner, sweep.metric).log()
        reported = report(settings, contract, data, Fitted(fitted, sweep.features, fields), register, explain)
        mlflow.set_tag("sweep_complete", "true")
        return reported


Candidates = dict[int, tuple[Trial, Candidate]]


def _search(settings: Settings, sweep: Sweep, key: str, leads: Encoded, candidates: Candidates) -> list[Trial]:
    def objective(number: int, values: Mapping[str, float], params: ForestParams) -> float:
        candidate = cross_validate_one(leads, params, sweep.metric, sweep.parallelism)
        trial = Trial(number, values, params, -candidate.mean)
        candidates[number] = (trial, candidate)
        tags = {"feature_set": sweep.features, "trial_key": key, "trial_values": json.dumps(values)}
        log_candidate(settings, "sweep_hyperopt", number, candidate, sweep.metric, tags)
        return trial.loss

    return search(
        sweep.space,
        objective,
        max_evals=sweep.max_evals,
        patience=sweep.patience,
        seed=sweep.seed,
        base=sweep.base,
        finished=[trial for _, (trial, _) in sorted(candidates.items())],
    )


def _taken_over(client: MlflowClient, sweep: Sweep, key: str, parent: Any) -> Candidates:
    """Finished trials 0, 1, 2 .. of interrupted sweeps with this key, their runs moved under the new parent."""
    found: Candidates = {}
    runs = client.search_runs(
        [parent.experiment_id], f"tags.trial_key = '{key}' and attributes.status = 'FINISHED'", max_results=1000
    )
    by_number = {}
    for run in runs:
        old = client.get_run(run.data.tags[MLFLOW_PARENT_RUN_ID])
        if old.data.tags.get("sweep_complete") != "true":
            by_number[int(run.data.tags["candidate"])] = run
    while len(found) in by_number and len(found) < sweep.max_evals:
        number = len(found)
        run = by_number[number]
        m = run.data.metrics
        mean, std = m[f"cv_{sweep.metric}_mean"], m[f"cv_{sweep.metric}_std"]
        trial = restored(number, json.loads(run.data.tags["trial_values"]), -mean, sweep.space, sweep.base)
        found[number] = (trial, Candidate(trial.params, mean, std, m["fit_seconds"]))
        client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, parent.run_id)
    return found


def _log_pictures(candidates: list[Candidate], sweep: Sweep, run_id: str) -> None:
    rows = [{**{n: getattr(c.params, n) for n in sweep.space.root}, sweep.metric: c.mean} for c in candidates]
    subject = f"TPE over {len(rows)} trials, {sweep.features} features; run {run_id[:8]}"
    log_figures(
        {
            "candidates": sweep_plots.parallel_coordinates(rows, sweep.metric, subject),
            "trials": sweep_plots.trials([c.mean for c in candidates], sweep.metric, subject),
        }
    )


if __name__ == "__main__":
    run_command(sweep_hyperopt)
