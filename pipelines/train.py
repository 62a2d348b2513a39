"""train: fit the random forest pipeline, evaluate it on held-out leads, log it and register a version."""

from typing import Annotated

import typer
from pyspark.sql import SparkSession

from evaluation.fitting import FOLDS, Calibrate, Finish, fit_servable
from evaluation.leakage import OnLeak
from evaluation.search import encoded
from features.stages import ForestParams, Impurity, Subset
from pipelines.commands import Switch, run_command
from pipelines.datasets import load_prepared
from pipelines.leaks import check_leaks
from pipelines.reporting import Fitted, Reported, report
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import tracked_run

DEFAULTS = ForestParams()


def train(
    features: Annotated[str, typer.Option(help="feature set of the contract")] = "available",
    trees: Annotated[int, typer.Option(min=1, max=2000)] = DEFAULTS.trees,
    depth: Annotated[int, typer.Option(min=1, max=30)] = DEFAULTS.depth,
    min_instances: Annotated[int, typer.Option(min=1, help="fewest leads on a side of a split")] = 1,
    feature_subset: Annotated[Subset, typer.Option(help="features a split chooses from")] = "auto",
    impurity: Annotated[Impurity, typer.Option()] = "gini",
    subsampling: Annotated[float, typer.Option(min=0.01, max=1.0, help="share of leads per tree")] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = DEFAULTS.seed,
    calibrate: Annotated[Calibrate, typer.Option(help="what turns the forest's share into a rate")] = "isotonic",
    folds: Annotated[int, typer.Option(min=2, max=20, help="folds whose scores calibrate")] = FOLDS,
    on_leak: Annotated[OnLeak, typer.Option(help="what a suspected leak does to a registration")] = OnLeak.REFUSE,
    explain: Annotated[Switch, typer.Option(help="measure importance and dependence")] = Switch.TRUE,
    register: Annotated[Switch, typer.Option(help="make a registry version")] = Switch.TRUE,
) -> None:
    """Fit, evaluate and log the random forest of one feature set."""
    settings = Settings()
    params = ForestParams(
        trees=trees,
        depth=depth,
        min_instances=min_instances,
        feature_subset=feature_subset,
        impurity=impurity,
        subsampling=subsampling,
        seed=seed,
    )
    settings.contract().feature_set(features)
    finish = Finish(calibrate, settings.grade_rule())
    with spark_session(settings, "train") as spark:
        print(
            summary(run_train(spark, settings, features, params, finish, folds, bool(register), on_leak, bool(explain)))
        )


def run_train(
    spark: SparkSession,
    settings: Settings,
    features: str,
    params: ForestParams = DEFAULTS,
    finish: Finish | None = None,
    folds: int = FOLDS,
    register: bool = True,
    on_leak: OnLeak = OnLeak.REFUSE,
    explain: bool = True,
) -> Reported:
    """Train one feature set within a tracked run; without `finish` calibrated and graded by the settings' rule."""
    finish = finish or Finish(grades=settings.grade_rule())
    contract = settings.contract()
    fields = contract.feature_set(features)
    data = load_prepared(spark, settings)
    asked = {"features": features, **params.model_dump(), "calibrate": finish.calibrate, "folds": folds}
    asked |= {"on_leak": on_leak, "explain": Switch.of(explain), "register": Switch.of(register)}
    with tracked_run(settings, "train", asked):
        check_leaks(contract, data, features, register, on_leak)
        with encoded(data.train, fields, contract.label.name, folds, params.seed, contract.order.name) as leads:
            fitted = fit_servable(leads, params, finish)
        return report(settings, contract, data, Fitted(fitted, features, fields), register, explain)


def summary(reported: Reported) -> str:
    """One line that says how good the model is and where it went."""
    shown = ("auc_roc", "accuracy", "weighted_precision", "weighted_recall", "brier")
    quality = ", ".join(f"{name} {reported.metrics[f'test_{name}']:.4f}" for name in shown)
    where = f"version {reported.version}" if reported.version else "not registered"
    return f"run {reported.run_id}: test {quality}; {where}"


if __name__ == "__main__":
    run_command(train)
