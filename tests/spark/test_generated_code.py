"""Small micro-batches are interpreted, large ones run by generated code; scores do not tell which."""

import pytest
from pyspark.sql import functions as F

from features.stages import ForestParams, pipeline
from serving.events import events
from serving.generated_code import FEW_ROWS, INTERPRETED, GeneratedCode
from serving.registry import ResolvedVersion
from serving.scoring import scored_events
from serving.sources import as_records, kafka_arrivals
from tests.leads import small_contract, small_leads

GENERATED = {"spark.sql.codegen.wholeStage": "true", "spark.sql.codegen.factoryMode": "FALLBACK"}


@pytest.fixture
def session(spark):
    """A session of its own, as every query has."""
    return spark.newSession()


def settings(session):
    return {name: session.conf.get(name) for name in INTERPRETED}


def after(session, *batches):
    code = GeneratedCode()
    for rows in batches:
        code.choose(session)
        code.saw(rows)
    code.choose(session)
    return settings(session)


def test_the_first_batch_is_run_by_generated_code(session):
    assert after(session) == GENERATED


def test_a_batch_after_a_small_one_is_interpreted(session):
    assert after(session, FEW_ROWS) == INTERPRETED


def test_a_batch_after_a_large_one_is_run_by_generated_code(session):
    assert after(session, 1, FEW_ROWS + 1) == GENERATED


def test_what_the_session_was_given_is_kept_for_large_batches(session):
    session.conf.set("spark.sql.codegen.wholeStage", "false")
    assert after(session, 1, FEW_ROWS + 1) == GENERATED | {"spark.sql.codegen.wholeStage": "false"}


def test_the_next_query_of_a_stream_goes_on_with_what_the_one_before_saw(spark, session):
    code = GeneratedCode()
    code.choose(session)
    code.saw(1)
    following = spark.newSession()
    code.choose(following)
    assert settings(following) == INTERPRETED


def test_scores_are_the_same_bit_by_bit(spark):
    contract = small_contract()
    forest = ForestParams(trees=5, depth=4)
    model = pipeline(contract.feature_set("available"), forest, "Bought").fit(small_leads(spark, 300))
    leads = small_leads(spark, 200)
    leads = leads.unionByName(
        leads.select(*(F.lit(None).cast(leads.schema[c].dataType).alias(c) for c in leads.columns))
    )
    version = ResolvedVersion("small", 3, "models:/small/3", {})

    def scores(code):
        for name, value in code.items():
            spark.conf.set(name, value)
        rows = scored_events(events(kafka_arrivals(as_records(leads, contract)), contract), model, version, contract)
        return sorted(map(str, rows.drop("scored_at", "event_time").collect()))

    try:
        interpreted = scores(INTERPRETED)
    finally:
        generated = scores(GENERATED)
    assert interpreted == generated
    assert len(generated) == 400
