"""Searching forest settings: cross-validation by the group column on features that are encoded and cached once."""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from pyspark import SparkContext, inheritable_thread_target
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import RandomForestClassificationModel, RandomForestClassifier
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.param import Param
from pyspark.ml.tuning import CrossValidator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.contract import LeadField
from features.splits import AGE, GROUP, age_of, fold_of
from features.stages import ForestParams, encoder_stages, forest

FOLD = "fold"
PACKED = 50_000  # leads of a partition
METRICS: dict[str, Literal["areaUnderROC", "areaUnderPR"]] = {"auc_roc": "areaUnderROC", "auc_pr": "areaUnderPR"}


@dataclass(frozen=True)
class Encoded:
    """Train leads as `features`, label, `fold`, `lead_group` and age, cached, and the fitted encoder that made them."""

    encoder: PipelineModel
    leads: DataFrame
    label: str
    folds: int
    rows: int

    @property
    def packed(self) -> DataFrame:
        """The leads in few partitions, for fits that run side by side: more tasks make small ones slower."""
        return self.leads.coalesce(max(1, math.ceil(self.rows / PACKED)))


@dataclass(frozen=True)
class Candidate:
    """A setting and how it did: mean and standard deviation of the metric over folds, seconds of all its fits."""

    params: ForestParams
    mean: float
    std: float
    fit_seconds: float


@contextmanager
def encoded(
    train: DataFrame, fields: Sequence[LeadField], label: str, folds: int, seed: int, order: str | None = None
) -> Iterator[Encoded]:
    """Fit the encoder on all train leads, encode them once and keep them cached inside the block.

    Category indices and imputed means are learned from all folds; they see no label, and a second fit
    per fold would cost more than it could change. `order` is the field that leads come in order of, by which their
    `age` is told (features.splits); without it all are as old.
    """
    encoder = Pipeline(stages=encoder_stages(fields)).fit(train)
    fold = fold_of(folds, seed).alias(FOLD)
    age = age_of(train, order).alias(AGE)
    leads = encoder.transform(train).select("features", F.col(label).cast("double"), fold, GROUP, age).cache()
    try:
        yield Encoded(encoder, leads, label, folds, leads.count())
    finally:
        leads.unpersist()


def cross_validate(
    data: Encoded, candidates: Sequence[ForestParams], metric: str, parallelism: int, seed: int
) -> list[Candidate]:
    """Score every candidate by pyspark's CrossValidator over the folds of the data, in the order given.

    Candidates that differ in their number of trees alone share the trees of the largest of them. The forests of each
    fold are grown from a seed of their own, so that the mean over folds averages the chance of growing them, too.
    """
    estimator = _SharedForests(forest(candidates[0], data.label))
    validator = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=[param_map(estimator, c) for c in candidates],
        evaluator=_evaluator(data.label, metric),
        numFolds=data.folds,
        foldCol=FOLD,
        parallelism=parallelism,
        seed=seed,
    )
    fitted = validator.fit(data.packed)
    found = zip(candidates, fitted.avgMetrics, fitted.stdMetrics, estimator.seconds_of(len(candidates)), strict=True)
    return [Candidate(*parts) for parts in found]


def cross_validate_one(data: Encoded, params: ForestParams, metric: str, parallelism: int) -> Candidate:
    """Score one setting on the same folds, with the same seeds, several folds at a time."""
    evaluator = _evaluator(data.label, metric)

    def score(fold: int) -> tuple[float, float]:
        start = time.monotonic()
        own = params.model_copy(update={"seed": params.seed + fold})
        model = forest(own, data.label).fit(data.packed.where(F.col(FOLD) != fold))
        seconds = time.monotonic() - start
        return evaluator.evaluate(model.transform(data.packed.where(F.col(FOLD) == fold))), seconds

    with ThreadPoolExecutor(parallelism) as pool:
        results = list(pool.map(inheritable_thread_target(data.leads.sparkSession)(score), range(data.folds)))
    metrics = [value for value, _ in results]
    return Candidate(params, fmean(metrics), stdev(metrics), sum(seconds for _, seconds in results))


def refit(data: Encoded, params: ForestParams) -> RandomForestClassificationModel:
    """Fit a forest on all train leads."""
    return forest(params, data.label).fit(data.leads)


def param_map(estimator: RandomForestClassifier, params: ForestParams) -> dict[Param[Any], Any]:
    """A setting as a Spark ML param map of an estimator."""
    return {
        estimator.numTrees: params.trees,
        estimator.maxDepth: params.depth,
        estimator.minInstancesPerNode: params.min_instances,
        estimator.featureSubsetStrategy: params.feature_subset,
        estimator.impurity: params.impurity,
        estimator.subsamplingRate: params.subsampling,
        estimator.seed: params.seed,
    }


def candidates_table(candidates: Sequence[Candidate], metric: str) -> list[dict[str, Any]]:
    """One row per candidate: its parameters, the metric's mean and standard deviation, seconds; best first."""
    rows = [
        {**c.params.model_dump(), f"{metric}_mean": c.mean, f"{metric}_std": c.std, "fit_seconds": c.fit_seconds}
        for c in candidates
    ]
    return sorted(rows, key=lambda row: -row[f"{metric}_mean"])


def _evaluator(label: str, metric: str) -> BinaryClassificationEvaluator:
    return BinaryClassificationEvaluator(labelCol=label, metricName=METRICS[metric], numBins=0)


class _SharedForests(RandomForestClassifier):
    """A random forest that fits candidates which differ in their number of trees alone once, and notes the seconds.

    The trees of a forest are grown independently of each other, so the first 20 of 100 are a forest of 20. Candidates
    that share trees also differ by less chance than such that do not.

    A validator asks it once per fold; each time it adds one more to the candidates' seeds.
    """

    def __init__(self, like: RandomForestClassifier) -> None:
        super().__init__()
        like._copyValues(self)
        self._seconds: dict[int, float] = {}
        self._folds = itertools.count()

    def fitMultiple(self, dataset: DataFrame, paramMaps: Sequence[dict[Param[Any], Any]]) -> Iterator[Any]:  # noqa: N802, N803
        families: dict[Any, _Family] = {}
        fold = next(self._folds)
        for index, asked in enumerate(paramMaps):
            params = {**asked, self.seed: asked[self.seed] + fold}
            # One tree alone is grown from all features and without resampling: no member of a forest.
            key = tuple(
                (param.name, value == 1 if param.name == "numTrees" else value) for param, value in params.items()
            )
            families.setdefault(key, _Family(self.copy(), dataset)).add(index, params)
        return _Members(list(families.values()), self._seconds)

    def seconds_of(self, count: int) -> list[float]:
        """Seconds spent on each of `count` candidates, all folds added up; a shared fit is shared by trees."""
        return [self._seconds.get(index, 0.0) for index in range(count)]


class _Family:
    """Candidates that differ in their number of trees alone, and the largest one's forest, fitted when first needed."""

    def __init__(self, estimator: RandomForestClassifier, dataset: DataFrame) -> None:
        self.trees: dict[int, int] = {}
        self._estimator, self._dataset, self._lock = estimator, dataset, threading.Lock()
        self._largest: dict[Param[Any], Any] = {}
        self._fitted: RandomForestClassificationModel | None = None
        self._took = 0.0

    def add(self, index: int, params: dict[Param[Any], Any]) -> None:
        """Take in candidate number `index`."""
        count = next(value for param, value in params.items() if param.name == "numTrees")
        if count > max(self.trees.values(), default=0):
            self._largest = params
        self.trees[index] = count

    def member(self, index: int) -> tuple[RandomForestClassificationModel, float]:
        """The forest of a candidate, and its share of the seconds that the fit took."""
        count, most, together = self.trees[index], max(self.trees.values()), sum(self.trees.values())
        with self._lock:
            if self._fitted is None:
                start = time.monotonic()
                self._fitted = self._estimator.fit(self._dataset, self._largest)
                self._took = time.monotonic() - start
        model = self._fitted if count == most else first_trees(self._fitted, count)
        return model, self._took * count / together


class _Members(Iterator[Any]):
    """Passes on (index, model) pairs to the threads that ask; a member of each family first, so that none waits."""

    def __init__(self, families: Sequence[_Family], seconds: dict[int, float]) -> None:
        rounds = itertools.zip_longest(*([(family, index) for index in family.trees] for family in families))
        self._left = deque(pair for together in rounds for pair in together if pair is not None)
        self._seconds = seconds

    def __next__(self) -> Any:
        try:
            family, index = self._left.popleft()
        except IndexError:
            raise StopIteration from None
        model, seconds = family.member(index)
        self._seconds[index] = self._seconds.get(index, 0.0) + seconds
        return index, model


def first_trees(model: RandomForestClassificationModel, count: int) -> RandomForestClassificationModel:
    """The forest of the first `count` trees of a fitted one, with its settings."""
    java, context = model._java_obj, SparkContext._active_spark_context
    if java is None or context is None or context._gateway is None:
        raise RuntimeError("a fitted forest lives in a Spark session, and there is none")
    classes: Any = context._gateway.jvm.org.apache.spark.ml.classification
    trees = context._gateway.new_array(classes.DecisionTreeClassificationModel, count)
    for place, tree in enumerate(itertools.islice(java.trees(), count)):
        trees[place] = tree
    found = classes.RandomForestClassificationModel(java.uid(), trees, java.numFeatures(), java.numClasses())
    none: Any = context._gateway.jvm.org.apache.spark.ml.param.ParamMap()
    copied = java.copyValues(found, none)
    return RandomForestClassificationModel(copied.set(copied.numTrees(), count))
