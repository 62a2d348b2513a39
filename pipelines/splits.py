"""splits: the same forest tested in several ways, so that what a number rests on can be seen beside it."""

from typing import Annotated

import mlflow
import typer
from pyspark.sql import DataFrame, SparkSession

from evaluation.bootstrap import Intervals, intervals
from evaluation.comparison_plots import compared
from evaluation.scored_sample import collect_scored, score_with
from features.contract import Contract
from features.errors import LeadScoringError
from features.splits import GROUP, EmptySplit, Split, split_leads
from features.stages import ForestParams, pipeline
from pipelines.commands import run_command
from pipelines.datasets import load_prepared
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import log_figures, tracked_run

DEFAULTS = ForestParams()


class UnknownSplit(LeadScoringError):
    """A way to split was asked for that does not exist."""


def splits(
    features: Annotated[str, typer.Option(help="feature sets of the contract, by commas")] = "available,documented",
    ways: Annotated[str, typer.Option(help="ways to choose test leads, by commas")] = "grouped,newest",
    test_share: Annotated[float, typer.Option(min=0.05, max=0.95, help="share of the leads to test on")] = 0.3,
    trees: Annotated[int, typer.Option(min=1, max=2000)] = DEFAULTS.trees,
    depth: Annotated[int, typer.Option(min=1, max=30)] = DEFAULTS.depth,
    seed: Annotated[int, typer.Option(min=0)] = DEFAULTS.seed,
) -> None:
    """Fit and test the forest once per feature set and split, and log all with 95% intervals in one run."""
    settings = Settings()
    params = ForestParams(trees=trees, depth=depth, seed=seed)
    asked = parse_ways(ways)
    sets = [name.strip() for name in features.split(",") if name.strip()]
    for name in sets:
        settings.contract().feature_set(name)
    with spark_session(settings, "splits") as spark:
        for name, found in run_splits(spark, settings, sets, asked, test_share, params).items():
            lift, auc = found.metrics["lift_at_10"], found.metrics["auc_roc"]
            print(f"{name}: AUC {auc}, lift at 10% {lift.value:.2f}, {found.leads:,} test leads")


def parse_ways(ways: str) -> list[Split]:
    """Splits by name, each once; UnknownSplit lists those that exist."""
    words = [w.strip() for w in ways.split(",") if w.strip()]
    unknown = [w for w in words if w not in set(Split)]
    if unknown or not words:
        raise UnknownSplit(f"found {ways!r}; ways to split are {', '.join(Split)}. Name one or several by commas.")
    return [Split(w) for w in dict.fromkeys(words)]


def run_splits(
    spark: SparkSession,
    settings: Settings,
    sets: list[str],
    ways: list[Split],
    test_share: float = 0.3,
    params: ForestParams = DEFAULTS,
) -> dict[str, Intervals]:
    """Split all prepared leads anew in each way, fit each feature set, and log the intervals; by "SET, WAY"."""
    contract = settings.contract()
    data = load_prepared(spark, settings)
    asked = {"features": ",".join(sets), "ways": ",".join(ways), "test_share": test_share, **params.model_dump()}
    with tracked_run(settings, "splits", asked) as run:
        leads = data.train.unionByName(data.test).drop(GROUP).cache()
        try:
            found = {
                f"{name}, {way.value}": _tested(leads, contract, name, way, test_share, params)
                for name in sets
                for way in ways
            }
        finally:
            leads.unpersist()
        mlflow.log_dict({name: side.as_dict() for name, side in found.items()}, "intervals.json")
        for name, side in found.items():
            prefix = name.replace(", ", "_") + "_"
            mlflow.log_metrics({f"{prefix}{m}": i.value for m, i in side.metrics.items()} | side.flat(prefix))
        subject = f"random forest {params.trees} trees, depth {params.depth}; run {run.info.run_id[:8]}"
        log_figures({"splits": compared(found, "One forest, tested in several ways", subject)})
        return found


def _tested(
    leads: DataFrame, contract: Contract, name: str, way: Split, test_share: float, params: ForestParams
) -> Intervals:
    sides = split_leads(leads, contract, way, test_share, params.seed)
    train, test = sides.train.cache(), sides.test
    label = contract.label.name
    try:
        if train.select(label).distinct().count() < 2:
            raise EmptySplit(f"the {way.value} split leaves train leads of one class; choose another split or share.")
        model = pipeline(contract.feature_set(name), params, label).fit(train)
        scored = score_with({"__score": model}, test).select(label, GROUP, "__score").cache()
        try:
            return intervals(collect_scored(scored, label, ["__score"]), "__score")
        finally:
            scored.unpersist()
    finally:
        train.unpersist()


if __name__ == "__main__":
    run_command(splits)
