"""Boosted trees, which another team's pipeline may end in: logged, compiled, served in every way, and not explained."""

import mlflow
import pandas as pd
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.classification import GBTClassifier

from features.stages import encoder_stages
from pipelines.compiled import log_compiled
from pipelines.gate_ways import ways_of_serving
from pipelines.tracking import connect, log_model, register_model
from serving.compiled.artifact import load_compiled, load_explaining
from serving.compiled.errors import CannotExplain
from serving.models import load_version
from serving.registry import resolve
from tests.leads import small_contract, small_leads
from tests.served import WAYS, scored_by_spark, small_store

LEAD = {"Visits": 3.0, "Seconds": 120.0, "City": "Mumbai"}


@pytest.fixture(scope="module")
def version(tmp_path_factory, spark):
    """A version of twelve boosted trees, with its compiled scorer."""
    fields, leads = small_contract().feature_set("available"), small_leads(spark)
    boosted = GBTClassifier(labelCol="Bought", maxDepth=4, maxIter=12, seed=1)
    model = Pipeline(stages=[*encoder_stages(fields), boosted]).fit(leads)
    with small_store(tmp_path_factory.mktemp("boosted")) as settings, mlflow.start_run():
        logged = log_model(model, fields, small_leads(spark, 10))
        tags = log_compiled(logged, fields, scored_by_spark(model, small_leads(spark, 40))).tags
        number = register_model(settings.model_name, logged, tags)
        yield resolve(connect(settings), settings.model_name, str(number))


def test_boosted_trees_are_logged_with_a_scorer_that_agrees_with_spark(version):
    assert version.tags["compiled"] == "ok"
    assert float(version.tags["compiled_difference"]) < 1e-9


def test_every_way_of_serving_gives_the_scores_of_boosted_trees(spark, version):
    found = ways_of_serving(version, load_version(spark, version), small_leads(spark, 60), small_contract())
    assert {p.way: p.leads for p in found} == dict.fromkeys(WAYS, 60)
    assert max(p.largest for p in found) < 1e-9


def test_mlflow_serves_boosted_trees(version):
    served = mlflow.pyfunc.load_model(version.tags["compiled_uri"]).predict(pd.DataFrame([LEAD]))
    assert served.probability[0] == load_compiled(version).score_one(LEAD)["probability"]


def test_reasons_of_boosted_trees_are_refused_by_name(version):
    with pytest.raises(CannotExplain, match="boosted trees"):
        load_explaining(version)
