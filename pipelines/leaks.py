"""The leakage probe of a training: before anything is fitted, logged, and a reason to stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow

from evaluation.beside import beside
from evaluation.field_plots import leakage
from evaluation.leakage import LeakReport, OnLeak, probe_leaks, refuse_leaks
from evaluation.search import Encoded, encoded
from features.contract import Contract
from pipelines.datasets import Prepared
from pipelines.tracking import log_figures

LONGEST_TAG = 4900


@dataclass(frozen=True)
class Probed:
    """What the probe found, and the seconds that it took."""

    report: LeakReport
    seconds: float


# What this process has probed, by data, contract and feature set: sweeps of one session need not probe anew.
_PROBED: dict[tuple[str, str, str], LeakReport] = {}


@contextmanager
def probed_leads(
    contract: Contract, data: Prepared, features: str, folds: int, seed: int, register: bool, on_leak: OnLeak
) -> Iterator[Encoded]:
    """The encoded train leads of a feature set, for a block that fits: leads are probed while others are encoded.

    LeakFound, before the block begins, as `check_leaks` has it.
    """
    fields = contract.feature_set(features)
    with beside(data.train.sparkSession) as start:
        probing = start(probe, contract, data, features)
        with encoded(data.train, fields, contract.label.name, folds, seed, contract.order.name) as leads:
            check_leaks(probing.result(), features, register, on_leak)
            yield leads


def probe(contract: Contract, data: Prepared, features: str) -> Probed:
    """Probe a feature set, or take what this process has found of it."""
    start, key = time.monotonic(), (data.data_hash, contract.digest(), features)
    if key not in _PROBED:
        rows = data.manifest["rows"]["train"]
        _PROBED[key] = probe_leaks(data.train, data.test, contract, contract.feature_set(features), total=rows)
    return Probed(_PROBED[key], time.monotonic() - start)


def check_leaks(probed: Probed, features: str, register: bool, on_leak: OnLeak) -> None:
    """Log what a probe found to the active run: leakage.json, a plot, the tag `leak_suspects`.

    LeakFound where a field that the contract does not declare late is suspected, a version is to be registered and
    `on_leak` is refuse; otherwise suspects are told and the training goes on. The tag holds the suspects' names,
    and is empty where there are none.
    """
    report = probed.report
    mlflow.log_metrics({"leak_probe_seconds": probed.seconds, "leak_suspects": len(report.names)})
    mlflow.log_dict(report.as_dict(), "leakage.json")
    mlflow.set_tags({"leak_suspects": ",".join(report.names)[:LONGEST_TAG], "on_leak": on_leak.value})
    log_figures({"leakage": leakage(report, f"{features} features; train leads")})
    if register and on_leak is OnLeak.REFUSE:
        refuse_leaks(report, features)
    for suspect in report.suspects:
        print(f"suspected leak: {suspect.sentence}")
