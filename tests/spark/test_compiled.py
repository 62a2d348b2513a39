"""The compiled scorer against the Spark pipeline it was compiled from."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import DecisionTreeClassifier, GBTClassifier, LogisticRegression
from pyspark.ml.feature import Bucketizer, StringIndexer, VectorAssembler
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.ingest import read_leads
from features.stages import ForestParams, encoder_stages, pipeline
from serving.compiled import in_spark
from serving.compiled.compiling import compile_saved
from serving.compiled.errors import CannotCompile
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.parity import GRADE, PROBABILITY, parity, parity_with
from serving.compiled.scorer import CompiledScorer, packed
from serving.registry import ResolvedVersion
from serving.scoring import UnfitLeads, scored
from tests.fuzz import fuzzed_leads
from tests.leads import small_contract, small_leads
from tests.served import graded_model, with_grades

VERSION = ResolvedVersion("small", 7, "run", {})
INF = float("inf")


def compiled_from(model: PipelineModel, folder: Path, fields=()) -> CompiledScorer:
    model.write().overwrite().save(str(folder))
    return CompiledScorer(compile_saved(folder, fields))


def as_spark(spark: SparkSession, table: pa.Table, path: Path):
    pq.write_table(table, path)
    return spark.read.parquet(str(path))


@pytest.fixture(scope="module")
def graded(spark):
    """Ten trees on the small leads, calibrated and graded."""
    return graded_model(spark)


@pytest.fixture(scope="module")
def compiled(graded, tmp_path_factory):
    return compiled_from(graded, tmp_path_factory.mktemp("graded"), small_contract().features)


def test_a_hundred_thousand_fuzzed_leads_score_as_in_spark(spark, graded, compiled, tmp_path):
    leads = as_spark(spark, fuzzed_leads(compiled.compiled, 100_000), tmp_path / "fuzz.parquet")
    found = parity(graded, compiled, leads)
    assert found.rows == 100_000
    assert found.max_difference <= 1e-6, found.worst
    assert found.grades_differ == 0


def test_every_real_lead_and_its_fuzzed_kin_score_as_in_spark(spark, contract, leads_csv, tmp_path):
    fields, label = contract.feature_set("available"), contract.label.name
    leads = read_leads(spark, str(leads_csv), contract).good.cache()
    forest = pipeline(fields, ForestParams(trees=20, depth=8), label).fit(leads)
    model = with_grades(forest, leads, label)
    compiled = compiled_from(model, tmp_path / "model")
    fuzzed = as_spark(spark, fuzzed_leads(compiled.compiled, 100_000), tmp_path / "fuzz.parquet")
    found = parity(model, compiled, leads.select(*fuzzed.columns).unionAll(fuzzed))
    leads.unpersist()
    assert found.rows == 109_240
    assert found.max_difference <= 1e-6, found.worst
    assert found.grades_differ == 0


@pytest.mark.parametrize(
    "trees", [partial(GBTClassifier, maxIter=4), DecisionTreeClassifier], ids=["boosted trees", "a single tree"]
)
def test_boosted_trees_and_a_single_one_score_as_in_spark(spark, tmp_path, trees):
    contract = small_contract()
    stages = [
        *encoder_stages(contract.feature_set("available")),
        trees(labelCol=contract.label.name, maxDepth=4, seed=1),
    ]
    model = Pipeline(stages=stages).fit(small_leads(spark))
    compiled = compiled_from(model, tmp_path / "model")
    leads = as_spark(spark, fuzzed_leads(compiled.compiled, 5_000), tmp_path / "fuzz.parquet")
    assert parity(model, compiled, leads).max_difference <= 1e-12


def test_a_number_that_was_not_filled_goes_where_spark_sends_it(spark, tmp_path):
    leads = small_leads(spark)
    stages = [
        Bucketizer(inputCol="Visits", outputCol="bucket", splits=[-INF, 0.0, 2.0, 5.0, INF], handleInvalid="keep"),
        StringIndexer(inputCol="City", outputCol="place", handleInvalid="keep"),
        VectorAssembler(inputCols=["bucket", "place", "Seconds"], outputCol="features", handleInvalid="keep"),
        pipeline([], ForestParams(trees=10, depth=5), "Bought").getStages()[-1],
    ]
    model = Pipeline(stages=stages).fit(leads)
    compiled = compiled_from(model, tmp_path / "model")
    fuzzed = as_spark(spark, fuzzed_leads(compiled.compiled, 5_000), tmp_path / "fuzz.parquet")
    assert parity(model, compiled, fuzzed).max_difference <= 1e-12


def test_a_scorer_that_differs_fails_parity_and_names_the_lead(spark, graded, compiled, tmp_path):
    other = pipeline(small_contract().feature_set("available"), ForestParams(trees=2, depth=2, seed=5), "Bought")
    wrong = compiled_from(other.fit(small_leads(spark, 100, seed=9)), tmp_path / "other")
    found = parity(graded, wrong, small_leads(spark, 50))
    assert not found.passed
    assert set(found.worst[0]["lead"]) == {"Visits", "Seconds", "City"}


def test_scores_that_are_there_are_compared_without_spark(spark, graded, compiled):
    leads = small_leads(spark, 30).toArrow()
    scores = compiled.score(leads)
    off = scores.probability + np.eye(30)[7] * 1e-3
    there = leads.append_column(PROBABILITY, pa.array(off)).append_column(GRADE, scores.grades())
    found = parity_with(there, compiled)
    assert (found.rows, found.max_difference, found.grades_differ) == (30, pytest.approx(1e-3), 0)
    assert found.worst[0]["lead"]["City"] == str(leads["City"][7].as_py())


def test_scoring_no_lead_at_all_is_no_proof(spark, graded, compiled):
    assert not parity(graded, compiled, small_leads(spark, 10).limit(0)).passed


def test_batches_of_leads_score_as_the_spark_pipeline_does(spark, graded, compiled):
    leads = small_leads(spark, 200)
    shared = ["LeadId", "prediction", "model_version", "Bought"]
    found = scored_by_compiled(leads, compiled, VERSION, small_contract())
    assert found.columns == [
        *("LeadId", "score", "probability", "prediction", "grade", "model_version", "scored_at", "Bought")
    ]
    plain = PipelineModel(stages=graded.stages[:-3])
    uncalibrated = CompiledScorer(
        type(compiled.compiled)(
            compiled.description.model_copy(update={"calibration": None, "grades": None}), compiled.compiled.trees
        )
    )
    ours = scored_by_compiled(leads, uncalibrated, VERSION, small_contract())
    theirs = scored(leads, plain, VERSION, small_contract())
    assert sorted(ours.select(*shared).collect()) == sorted(theirs.select(*shared).collect())
    assert {f.name: f.dataType for f in theirs.schema}.items() <= {f.name: f.dataType for f in ours.schema}.items()


def test_a_worker_opens_the_scorer_once_and_holds_one_batch_at_a_time(monkeypatch, compiled):
    content = packed(compiled)

    class Sent:
        """Spark's broadcast, which counts how often it is read."""

        reads = 0

        @property
        def value(self) -> bytes:
            Sent.reads += 1
            return content

    monkeypatch.setattr(in_spark, "_LOADED", {})
    score = in_spark._scoring(in_spark.Shipped(Sent(), 1), ("Visits",), False)
    given, taken = [], []

    def batches():
        for batch in fuzzed_leads(compiled.compiled, 30).to_batches(max_chunksize=10):
            assert len(taken) == len(given)
            given.append(batch.num_rows)
            yield batch

    for _ in range(2):
        for scored_batch in score(batches()):
            taken.append(scored_batch.num_rows)
    assert (taken, Sent.reads) == ([10] * 6, 1)


def test_words_with_blanks_around_them_score_as_without(spark, graded, compiled):
    leads = small_leads(spark, 60)
    padded = leads.withColumn("City", F.concat(F.lit(" \u00a0"), "City", F.lit("\t ")))
    plans = [
        plan
        for frame in (leads, padded)
        for plan in (
            scored(frame, graded, VERSION, small_contract()),
            scored_by_compiled(frame, compiled, VERSION, small_contract()),
        )
    ]
    found = [plan.orderBy("LeadId").select("score", "grade").collect() for plan in plans]
    assert all(each == found[0] for each in found)


def test_compiled_scoring_names_missing_columns_before_anything_runs(spark, compiled):
    with pytest.raises(UnfitLeads, match="lack Visits"):
        scored_by_compiled(small_leads(spark, 5).drop("Visits"), compiled, VERSION, small_contract())


def test_one_lead_scores_as_it_does_in_a_batch(compiled):
    table = fuzzed_leads(compiled.compiled, 300, seed=4)
    table = table.filter(pa.compute.less(pa.compute.utf8_length(table["City"]), 200))
    batch = compiled.score(table)
    kept = [i for i, v in enumerate(table["Visits"].to_pylist()) if v is None or -INF < v <= 1000]
    rows = table.to_pylist()
    usable = [i for i in kept if rows[i]["Seconds"] is None or abs(rows[i]["Seconds"]) < INF]
    assert len(usable) > 50
    assert [compiled.score_one(rows[i])["probability"] for i in usable] == batch.probability[usable].tolist()


def test_a_saved_scorer_loads_to_the_same_scores(compiled, tmp_path):
    compiled.save(tmp_path)
    table = fuzzed_leads(compiled.compiled, 500, seed=2)
    again = CompiledScorer.load(tmp_path).score(table)
    np.testing.assert_array_equal(again.probability, compiled.score(table).probability)


def test_a_stage_that_has_no_compiled_form_is_refused_by_its_name(spark, tmp_path):
    stages = encoder_stages(small_contract().feature_set("available"))
    model = Pipeline(stages=[*stages, LogisticRegression(labelCol="Bought", maxIter=2)]).fit(small_leads(spark))
    with pytest.raises(CannotCompile, match="LogisticRegressionModel"):
        compiled_from(model, tmp_path / "model")


def test_an_indexer_that_ends_the_query_on_new_words_is_refused(spark, tmp_path):
    stages = encoder_stages(small_contract().feature_set("available"))
    next(s for s in stages if isinstance(s, StringIndexer)).setHandleInvalid("error")
    trees = pipeline([], ForestParams(trees=2, depth=2), "Bought").getStages()[-1]
    model = Pipeline(stages=[*stages, trees]).fit(small_leads(spark).na.drop())
    with pytest.raises(CannotCompile, match=r"StringIndexerModel .* has handleInvalid='error'"):
        compiled_from(model, tmp_path / "model")
