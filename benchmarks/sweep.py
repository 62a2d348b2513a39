"""A sweep of 12 candidates by 3 folds: ours beside a plain CrossValidator over the whole pipeline, same folds."""

import time
from typing import Any

import numpy as np
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.tuning import CrossValidator
from pyspark.sql import DataFrame

from benchmarks.answers import WrongAnswers
from benchmarks.report import Table
from evaluation.search import FOLD, cross_validate, encoded, param_map
from features.contract import Contract
from features.splits import fold_of
from features.stages import ForestParams, pipeline
from pipelines.sweep_cv import parse_grid

# Of the candidates' deviation from fold to fold, taken together: that of one candidate is told by three folds alone.
# Both means are of three folds, and forests of 20 trees differ by chance as much from seed to seed.
MOST_APART = 2.0
GRID, FOLDS, SEED, ANOTHER_SEED = "trees=20,50,100;depth=5,10;min_instances=1,5", 3, 42, 43


def sweep_table(train: DataFrame, contract: Contract, parallelism: int = 2) -> Table:
    """Seconds of both, and how far the candidates' metrics lie apart, in deviations from fold to fold.

    The plain one with another seed tells how far two drawings of the same forests lie apart.
    """
    fields, label = contract.feature_set("available"), contract.label.name
    candidates = parse_grid(GRID, SEED)
    start = time.perf_counter()
    with encoded(train, fields, label, FOLDS, SEED) as data:
        ours = cross_validate(data, candidates, "auc_roc", parallelism, SEED)
    our_seconds = time.perf_counter() - start
    start = time.perf_counter()
    plain = _plain(train, fields, label, candidates)
    plain_seconds = time.perf_counter() - start
    again = _plain(train, fields, label, parse_grid(GRID, ANOTHER_SEED))
    means = np.array(plain.avgMetrics)
    differences = np.abs(np.array([c.mean for c in ours]) - means)
    by_seed = np.abs(np.array(again.avgMetrics) - means)
    # CrossValidator divides by the number of folds.
    own = np.array(plain.stdMetrics) * np.sqrt(FOLDS / (FOLDS - 1))
    noise = float(np.sqrt(np.mean(own**2)))
    apart = float(differences.max()) / noise
    if not apart <= MOST_APART:
        raise WrongAnswers(f"a candidate's mean AUC is {apart:.2f} deviations from fold to fold off the plain one's")
    rows: list[dict[str, Any]] = [
        {"sweep": "plain CrossValidator over the whole pipeline", "seconds": plain_seconds, "times faster": 1.0},
        {"sweep": "sweep_cv's cross-validation", "seconds": our_seconds, "times faster": plain_seconds / our_seconds},
    ]
    own_apart, own_by_seed = (float(np.max(d / np.maximum(own, 1e-9))) for d in (differences, by_seed))
    notes = [
        f"largest difference of a candidate's mean AUC: ours beside the plain one {differences.max():.4f}; "
        f"the plain one with seed {ANOTHER_SEED} beside itself with seed {SEED} {by_seed.max():.4f}",
        f"in standard deviations over folds ({noise:.4f}, of all candidates together): {apart:.2f} and "
        f"{by_seed.max() / noise:.2f}; in the candidate's own, told by {FOLDS} folds: {own_apart:.2f} and "
        f"{own_by_seed:.2f}",
    ]
    return Table(f"{len(candidates)} candidates x {FOLDS} folds, {train.count():,} leads", rows, notes)


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
