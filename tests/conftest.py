"""Fixtures that every kind of test shares."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from features.contract import Contract
from features.contract_file import load_contract
from pipelines.session import JARS, build_session
from pipelines.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Give the main module of a worker a file: PySpark takes a process without one for its doctests, and ends it."""
    main = sys.modules["__main__"]
    if not hasattr(main, "__file__"):
        main.__file__ = __file__


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by the folder it lies in."""
    for item in items:
        kind = item.path.relative_to(ROOT / "tests").parts[0]
        if kind in ("unit", "spark", "integration"):
            item.add_marker(kind)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where every service must be there (REQUIRE_SERVICES=1), a skipped test is a failed one."""
    report = yield
    if os.environ.get("REQUIRE_SERVICES") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, but everything must be here: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def contract() -> Contract:
    """The shipped lead contract."""
    return load_contract(ROOT / "conf" / "leads.yaml")


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One local session for the whole run, with the Kafka connector where `make jars` has run."""
    session = build_session(Settings(), "tests", kafka=JARS.exists())
    yield session
    session.stop()


@pytest.fixture(scope="session")
def leads_csv() -> Path:
    """The real leads, where this machine has them: LEADS_CSV, or beside the repository."""
    path = Path(os.environ.get("LEADS_CSV") or ROOT.parent / "shared" / "data" / "Lead Scoring.csv")
    if not path.exists():
        pytest.skip("the real leads are not here: set LEADS_CSV to the path of 'Lead Scoring.csv'")
    return path
