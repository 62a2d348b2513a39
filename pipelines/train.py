"""train: fit the random forest pipeline, evaluate it on held-out leads, log it and register a version."""

from importlib import import_module
from typing import Annotated

import typer

from evaluation.fitting import FOLDS, Calibrate, Finish
from evaluation.leakage import OnLeak
from features.stages import DEFAULT_FOREST, ForestParams, Impurity, Subset
from pipelines.commands import Switch, run_command
from pipelines.session import spark_session
from pipelines.settings import Settings


def train(
    features: Annotated[str, typer.Option(help="feature set of the contract")] = "available",
    trees: Annotated[int, typer.Option(min=1, max=2000, help="number of trees")] = DEFAULT_FOREST.trees,
    depth: Annotated[int, typer.Option(min=1, max=30, help="greatest depth of a tree")] = DEFAULT_FOREST.depth,
    min_instances: Annotated[int, typer.Option(min=1, help="fewest leads on a side of a split")] = 1,
    feature_subset: Annotated[Subset, typer.Option(help="features a split chooses from")] = "auto",
    impurity: Annotated[Impurity, typer.Option(help="what a split lowers")] = "gini",
    subsampling: Annotated[float, typer.Option(min=0.01, max=1.0, help="share of leads per tree")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="seed of the forest")] = DEFAULT_FOREST.seed,
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
    with spark_session(settings, "train", beside=_get_ready) as spark:
        from pipelines.training import run_train, summary

        print(
            summary(run_train(spark, settings, features, params, finish, folds, bool(register), on_leak, bool(explain)))
        )


def _get_ready(settings: Settings) -> None:
    """Import what trains, which takes four seconds, and reach the tracking store."""
    for module in ("pipelines.training", "mlflow.spark", "sklearn.ensemble"):
        import_module(module)
    from pipelines.tracking import connect

    connect(settings)


if __name__ == "__main__":
    run_command(train)
