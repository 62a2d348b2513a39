"""splits: the same model tested in several ways, so that what a number rests on can be seen beside it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import reduce
from typing import Annotated, Any

import mlflow
import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from evaluation import fitting
from evaluation.bootstrap import Intervals, intervals
from evaluation.comparison_plots import compared
from evaluation.gate_measures import calibration_error
from evaluation.scored_sample import collect_scored
from evaluation.search import encoded
from features.contract import Contract
from features.errors import LeadScoringError
from features.splits import GROUP, EmptySplit, Split, fold_of, split_leads, with_group
from features.stages import DEFAULT_FOREST, ForestParams, positive_probability, served_probability
from pipelines.commands import run_command
from pipelines.datasets import load_prepared
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, log_figures, tracked_run

FOLDS = 5  # of the k-fold test

SERVED, FOREST = "__served", "__forest"


class Way(StrEnum):
    """How test leads are chosen: a split of `prepare`, or every lead once, in folds of groups of repeated leads."""

    GROUPED = "grouped"
    RANDOM = "random"
    NEWEST = "newest"
    KFOLD = "kfold"


class UnknownSplit(LeadScoringError):
    """A way to split was asked for that does not exist."""


@dataclass(frozen=True)
class Tested:
    """How a model did on leads that it was not fitted on; the calibration errors are of the served score and before."""

    intervals: Intervals
    ece: float
    ece_uncalibrated: float

    def __str__(self) -> str:
        found = self.intervals.metrics
        return (
            f"AUC {found['auc_roc']}, lift at 10% {found['lift_at_10'].value:.2f}, calibration error "
            f"{self.ece_uncalibrated:.3f} before and {self.ece:.3f} after, {self.intervals.leads:,} test leads"
        )


def splits(
    features: Annotated[str, typer.Option(help="feature sets of the contract, by commas")] = "available,documented",
    ways: Annotated[str, typer.Option(help="grouped, newest, kfold, random: by commas")] = "grouped,newest,kfold",
    test_share: Annotated[float, typer.Option(min=0.05, max=0.95, help="share of the leads to test on")] = 0.3,
    trees: Annotated[int, typer.Option(min=1, max=2000, help="number of trees")] = DEFAULT_FOREST.trees,
    depth: Annotated[int, typer.Option(min=1, max=30, help="greatest depth of a tree")] = DEFAULT_FOREST.depth,
    seed: Annotated[int, typer.Option(min=0, help="seed of the splits and forests")] = DEFAULT_FOREST.seed,
) -> None:
    """Fit and test the calibrated forest per feature set and way, and log all with 95% intervals in one run."""
    settings = Settings()
    params = ForestParams(trees=trees, depth=depth, seed=seed)
    asked = parse_ways(ways)
    sets = [name.strip() for name in features.split(",") if name.strip()]
    for name in sets:
        settings.contract().feature_set(name)
    with spark_session(settings, "splits", beside=connect) as spark:
        for name, found in run_splits(spark, settings, sets, asked, test_share, params).items():
            print(f"{name}: {found}")


def parse_ways(ways: str) -> list[Way]:
    """Ways by name, each once; UnknownSplit lists those that exist."""
    words = [w.strip() for w in ways.split(",") if w.strip()]
    unknown = [w for w in words if w not in set(Way)]
    if unknown or not words:
        raise UnknownSplit(f"found {ways!r}; ways to split are {', '.join(Way)}. Name one or several by commas.")
    return [Way(w) for w in dict.fromkeys(words)]


def run_splits(
    spark: SparkSession,
    settings: Settings,
    sets: list[str],
    ways: list[Way],
    test_share: float = 0.3,
    params: ForestParams = DEFAULT_FOREST,
) -> dict[str, Tested]:
    """Split all prepared leads anew in each way, fit each feature set, and log what was found; by "SET, WAY"."""
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
        mlflow.log_dict({name: _as_dict(side) for name, side in found.items()}, "intervals.json")
        for name, side in found.items():
            mlflow.log_metrics(_metrics(side, name.replace(", ", "_") + "_"))
        subject = f"random forest {params.trees} trees, depth {params.depth}, calibrated; run {run.info.run_id[:8]}"
        spans = {name: side.intervals for name, side in found.items()}
        log_figures({"splits": compared(spans, "One model, tested in several ways", subject)})
        return found


def _tested(
    leads: DataFrame, contract: Contract, name: str, way: Way, test_share: float, params: ForestParams
) -> Tested:
    label = contract.label.name
    parts = [
        _scored(train, test, contract, name, way, params)
        for train, test in _sides(leads, contract, way, test_share, params.seed)
    ]
    scored = reduce(DataFrame.unionAll, parts).cache()
    try:
        sample = collect_scored(scored, label, [SERVED, FOREST])
        return Tested(intervals(sample, SERVED), calibration_error(sample, SERVED), calibration_error(sample, FOREST))
    finally:
        scored.unpersist()


def _sides(
    leads: DataFrame, contract: Contract, way: Way, test_share: float, seed: int
) -> Iterator[tuple[DataFrame, DataFrame]]:
    """Train and test leads: one pair, or one for each of the folds."""
    if way is not Way.KFOLD:
        sides = split_leads(leads, contract, Split(way), test_share, seed)
        yield sides.train, sides.test
        return
    grouped = with_group(leads, contract).withColumn("__fold", fold_of(FOLDS, seed + 1))
    for fold in range(FOLDS):
        held = F.col("__fold") == fold
        yield grouped.where(~held).drop("__fold"), grouped.where(held).drop("__fold")


def _scored(
    train: DataFrame, test: DataFrame, contract: Contract, name: str, way: Way, params: ForestParams
) -> DataFrame:
    """Label, group and both probabilities of the test leads, by a model that is fitted on the train leads."""
    label = contract.label.name
    if train.select(label).distinct().count() < 2:
        raise EmptySplit(f"the {way.value} split leaves train leads of one class; choose another split or share.")
    with encoded(train, contract.feature_set(name), label, fitting.FOLDS, params.seed, contract.order.name) as data:
        model = fitting.fit_servable(data, params, fitting.Finish()).model
    scored = model.transform(test)
    served = served_probability(scored.columns).alias(SERVED)
    return scored.select(label, GROUP, served, positive_probability().alias(FOREST))


def _metrics(tested: Tested, prefix: str) -> dict[str, float]:
    found = {f"{prefix}{name}": interval.value for name, interval in tested.intervals.metrics.items()}
    found |= {f"{prefix}ece": tested.ece, f"{prefix}ece_uncalibrated": tested.ece_uncalibrated}
    return found | tested.intervals.flat(prefix)


def _as_dict(tested: Tested) -> dict[str, Any]:
    return {**asdict(tested), "intervals": tested.intervals.as_dict()}


if __name__ == "__main__":
    run_command(splits)
