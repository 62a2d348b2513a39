"""Sample leads against the real ones: a forest that learnt from either ranks real leads equally well."""

from pathlib import Path

import pytest

from evaluation.metrics import evaluate
from features.ingest import read_leads
from features.sample import load_profile, save_profile, write_sample
from features.splits import Split, split_leads
from features.stages import ForestParams, pipeline, scored_columns
from pipelines.sample_profile import read_profile

SHIPPED = Path(__file__).resolve().parents[2] / "conf" / "sample_profile.json"


@pytest.fixture(scope="module")
def real(spark, contract, leads_csv):
    sides = split_leads(read_leads(spark, str(leads_csv), contract).good, contract, Split.GROUPED, 0.3, seed=42)
    return sides.train.coalesce(1).cache(), sides.test.coalesce(1).cache()


@pytest.fixture(scope="module")
def sample(spark, contract, tmp_path_factory):
    path = write_sample(tmp_path_factory.mktemp("sample") / "leads.csv", load_profile(SHIPPED))
    return read_leads(spark, str(path), contract).good.coalesce(1).cache()


def auc(train, test, contract, features):
    label = contract.label.name
    model = pipeline(contract.feature_set(features), ForestParams(trees=20, depth=10), label).fit(train)
    scored = model.transform(test)
    return evaluate(scored.select(*scored_columns(scored, label)), label)["auc_roc"]


@pytest.mark.parametrize("features", ["available", "documented"])
def test_a_forest_trained_on_sample_leads_ranks_real_leads_as_well_as_one_trained_on_real_leads(
    real, sample, contract, features
):
    train, test = real
    by_sample, by_real = auc(sample, test, contract, features), auc(train, test, contract, features)
    assert by_sample == pytest.approx(by_real, abs=0.03)


def test_every_sample_lead_meets_the_contract(sample):
    assert sample.count() == 9240


def test_the_shipped_profile_is_the_one_that_the_real_leads_give(leads_csv, tmp_path):
    rebuilt = save_profile(tmp_path / "profile.json", read_profile(leads_csv))
    assert rebuilt.read_text(encoding="utf-8") == SHIPPED.read_text(encoding="utf-8")
