"""The leakage probe of a training: before anything is fitted, logged, and a reason to stop."""

import time

import mlflow

from evaluation.field_plots import leakage
from evaluation.leakage import LeakReport, OnLeak, probe_leaks, refuse_leaks
from features.contract import Contract
from pipelines.datasets import Prepared
from pipelines.tracking import log_figures

LONGEST_TAG = 4900
# What this process has probed, by data, contract and feature set: sweeps of one session need not probe anew.
_PROBED: dict[tuple[str, str, str], LeakReport] = {}


def check_leaks(contract: Contract, data: Prepared, features: str, register: bool, on_leak: OnLeak) -> LeakReport:
    """Probe a feature set and log what is found to the active run: leakage.json, a plot, the tag `leak_suspects`.

    LeakFound where a field that the contract does not declare late is suspected, a version is to be registered and
    `on_leak` is refuse; otherwise suspects are told and the training goes on. The tag holds the suspects' names,
    and is empty where there are none.
    """
    start, key = time.monotonic(), (data.data_hash, contract.digest(), features)
    report = _PROBED.get(key) or probe_leaks(data.train, data.test, contract, contract.feature_set(features))
    _PROBED[key] = report
    mlflow.log_metrics({"leak_probe_seconds": time.monotonic() - start, "leak_suspects": len(report.names)})
    mlflow.log_dict(report.as_dict(), "leakage.json")
    mlflow.set_tags({"leak_suspects": ",".join(report.names)[:LONGEST_TAG], "on_leak": on_leak.value})
    log_figures({"leakage": leakage(report, f"{features} features; train leads")})
    if register and on_leak is OnLeak.REFUSE:
        refuse_leaks(report, features)
    for suspect in report.suspects:
        print(f"suspected leak: {suspect.sentence}")
    return report
