"""What `train` does once there is a session: fit, evaluate, log and register the forest of one feature set."""

from pyspark.sql import SparkSession

from evaluation.fitting import FOLDS, Finish, fit_servable
from evaluation.leakage import OnLeak
from features.stages import DEFAULT_FOREST, ForestParams
from pipelines.commands import Switch
from pipelines.datasets import load_prepared
from pipelines.leaks import probed_leads
from pipelines.reporting import Fitted, Reported, report
from pipelines.settings import Settings
from pipelines.tracking import tracked_run


def run_train(
    spark: SparkSession,
    settings: Settings,
    features: str,
    params: ForestParams = DEFAULT_FOREST,
    finish: Finish | None = None,
    folds: int = FOLDS,
    register: bool = True,
    on_leak: OnLeak = OnLeak.REFUSE,
    explain: bool = True,
) -> Reported:
    """Train one feature set within a tracked run; without `finish` calibrated and graded by the settings' rule."""
    finish = finish or Finish(grades=settings.grade_rule())
    contract = settings.contract()
    fields = contract.feature_set(features)
    data = load_prepared(spark, settings)
    asked = {"features": features, **params.model_dump(), "calibrate": finish.calibrate, "folds": folds}
    asked |= {"on_leak": on_leak, "explain": Switch.of(explain), "register": Switch.of(register)}
    with tracked_run(settings, "train", asked):
        with probed_leads(contract, data, features, folds, params.seed, register, on_leak) as leads:
            fitted = fit_servable(leads, params, finish)
        return report(settings, contract, data, Fitted(fitted, features, fields), register, explain)


def summary(reported: Reported) -> str:
    """One line that says how good the model is and where it went."""
    shown = ("auc_roc", "accuracy", "weighted_precision", "weighted_recall", "brier")
    quality = ", ".join(f"{name} {reported.metrics[f'test_{name}']:.4f}" for name in shown)
    where = f"version {reported.version}" if reported.version else "not registered"
    return f"run {reported.run_id}: test {quality}; {where}"
