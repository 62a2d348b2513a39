"""A sweep of 12 candidates by 3 folds: ours beside a plain CrossValidator over the whole pipeline, same folds."""

import time
from typing import Any

import numpy as np
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.tuning import CrossValidator
from pyspark.sql import DataFrame

from benchmarks.answers import WrongAnswers
from benchmarks.measure import Timed
from benchmarks.report import Table
from evaluation.search import FOLD, cross_validate, encoded, param_map
from features.contract import Contract
from features.splits import fold_of
from features.stages import ForestParams, pipeline
from pipelines.sweep_cv import parse_grid

# Of the candidates' deviation from fold to fold, taken together: that of one candidate is told by three folds alone.
MOST_APART = 2.0
GRID, FOLDS, SEED = "trees=20,50,100;depth=5,10;min_instances=1,5", 3, 42
# Of forests: by chance alone those of 20 trees differ from seed to seed by as much as from fold to fold.
SEEDS = (42, 43, 44)


def sweep_table(train: DataFrame, contract: Contract, parallelism: int = 2) -> list[Table]:
    """Median seconds of both, and how far the candidates' metrics lie apart, in deviations from fold to fold.

    Both sides sweep once per seed of forests, on the same folds; a candidate's metric is the mean over seeds. One seed
    of the plain one beside the others tells how far two drawings of the same forests lie apart.
    """
    fields, label = contract.feature_set("available"), contract.label.name
    ours, plain, our_seconds, plain_seconds = [], [], [], []
    for seed in SEEDS:
        candidates = parse_grid(GRID, seed)
        start = time.perf_counter()
        with encoded(train, fields, label, FOLDS, SEED) as data:
            ours.append([c.mean for c in cross_validate(data, candidates, "auc_roc", parallelism, seed)])
        our_seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        plain.append(_plain(train, fields, label, candidates))
        plain_seconds.append(time.perf_counter() - start)
    means = np.array([found.avgMetrics for found in plain])
    differences = np.abs(np.mean(ours, axis=0) - means.mean(axis=0))
    by_seed = np.abs(means[0] - means[1:].mean(axis=0))
    # CrossValidator divides by the number of folds.
    deviations = np.array([found.stdMetrics for found in plain]) * np.sqrt(FOLDS / (FOLDS - 1))
    own = np.sqrt(np.mean(deviations**2, axis=0))
    noise = float(np.sqrt(np.mean(own**2)))
    apart = float(differences.max()) / noise
    if not apart <= MOST_APART:
        raise WrongAnswers(f"a candidate's mean AUC is {apart:.2f} deviations from fold to fold off the plain one's")
    base = Timed(tuple(plain_seconds))
    rows: list[dict[str, Any]] = [
        {"sweep": name, "seconds": times.median, "spread": times.spread, "times faster": base.median / times.median}
        for name, times in (
            ("plain CrossValidator over the whole pipeline", base),
            ("sweep_cv's cross-validation", Timed(tuple(our_seconds))),
        )
    ]
    told: list[dict[str, Any]] = [
        {
            "largest difference of a candidate's mean AUC": what,
            "AUC": float(found.max()),
            "in its own deviations over folds": float(np.max(found / own)),
            "in all candidates' together": float(found.max()) / noise,
        }
        for what, found in (
            ("ours beside the plain one", differences),
            (f"the plain one, seed {SEEDS[0]} alone beside the others", by_seed),
        )
    ]
    notes = [f"medians of {len(SEEDS)} seeds of forests on the same folds; spread: shortest to longest"]
    title = f"{len(candidates)} candidates x {FOLDS} folds, {train.count():,} leads"
    return [Table(title, rows, notes), Table(f"The same metrics: means over {len(SEEDS)} seeds", told)]


def _plain(train: DataFrame, fields: Any, label: str, candidates: list[ForestParams]) -> Any:
    stages = pipeline(fields, candidates[0], label)
    forest = stages.getStages()[-1]
    validator = CrossValidator(
        estimator=stages,
        estimatorParamMaps=[param_map(forest, c) for c in candidates],  # type: ignore[arg-type]
        evaluator=BinaryClassificationEvaluator(labelCol=label, metricName="areaUnderROC", numBins=0),
        numFolds=FOLDS,
        foldCol=FOLD,
        seed=SEED,
    )
    return validator.fit(train.withColumn(FOLD, fold_of(FOLDS, SEED)))
