"""sweep_cv: a grid of forests by cross-validation, a nested run per candidate, the winner refitted and registered."""

import itertools
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pyspark.sql import SparkSession

from evaluation import sweep_plots
from evaluation.fitting import Finish, fit_servable
from evaluation.leakage import OnLeak
from evaluation.search import Candidate, cross_validate
from features.errors import LeadScoringError
from features.stages import ForestParams
from pipelines.candidates import Metric, Picked, log_candidate, log_table
from pipelines.commands import Switch, run_command
from pipelines.datasets import load_prepared
from pipelines.leaks import probed_leads
from pipelines.reporting import Fitted, Reported, report
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, log_figures, tracked_run
from pipelines.training import summary

GRID = "trees=50,100;depth=5,10"


class BadGrid(LeadScoringError):
    """A grid that cannot be read, or that holds values outside a parameter's range."""


def sweep_cv(
    features: Annotated[str, typer.Option(help="feature set of the contract")] = "available",
    grid: Annotated[str, typer.Option(help="candidates, as name=value,value;name=value,value")] = GRID,
    folds: Annotated[int, typer.Option(min=2, max=20, help="folds that a candidate is judged on")] = 3,
    parallelism: Annotated[int, typer.Option(min=1, max=64, help="fits at a time")] = 2,
    metric: Annotated[Metric, typer.Option(help="what the winner has most of")] = "auc_roc",
    seed: Annotated[int, typer.Option(min=0, help="seed of the folds and forests")] = 42,
    on_leak: Annotated[OnLeak, typer.Option(help="what a suspected leak does to a registration")] = OnLeak.REFUSE,
    register: Annotated[Switch, typer.Option(help="make a registry version of the winner")] = Switch.TRUE,
) -> None:
    """Cross-validate a grid of forests by groups of repeated leads."""
    settings = Settings()
    parse_grid(grid, seed)  # a fault is told before Spark starts
    settings.contract().feature_set(features)
    with spark_session(settings, "sweep_cv", beside=connect) as spark:
        search = (features, grid, folds, parallelism, metric, seed)
        print(summary(run_sweep_cv(spark, settings, *search, bool(register), on_leak)))


def parse_grid(grid: str, seed: int) -> list[ForestParams]:
    """Every combination of a grid such as `trees=50,100;depth=5,10`; BadGrid names the part at fault."""
    axes: dict[str, list[str]] = {}
    for part in filter(None, (p.strip() for p in grid.split(";"))):
        name, equals, values = part.partition("=")
        listed = [v.strip() for v in values.split(",") if v.strip()]
        if not equals or name.strip() not in ForestParams.model_fields or not listed or name.strip() in axes:
            raise BadGrid(
                f"the grid's part {part!r} is not NAME=VALUE,VALUE with a NAME of its own out of "
                f"{', '.join(ForestParams.model_fields)}; an example is {GRID!r}."
            )
        axes[name.strip()] = listed
    try:
        combinations = itertools.product(*axes.values())
        return [ForestParams.model_validate({"seed": seed, **dict(zip(axes, c, strict=True))}) for c in combinations]
    except ValidationError as error:
        first = error.errors()[0]
        raise BadGrid(f"the grid's {first['loc'][0]}: {first['msg']} (found {first['input']!r}).") from None


def run_sweep_cv(
    spark: SparkSession,
    settings: Settings,
    features: str,
    grid: str = GRID,
    folds: int = 3,
    parallelism: int = 2,
    metric: Metric = "auc_roc",
    seed: int = 42,
    register: bool = True,
    on_leak: OnLeak = OnLeak.REFUSE,
    explain: bool = True,
) -> Reported:
    """Sweep a grid (`parse_grid`) within a parent run; the winner is refitted on all train leads and registered."""
    candidates, contract = parse_grid(grid, seed), settings.contract()
    fields = contract.feature_set(features)
    data = load_prepared(spark, settings)
    asked: dict[str, Any] = {"features": features, "grid": grid, "folds": folds, "parallelism": parallelism}
    asked |= {"metric": metric, "seed": seed, "on_leak": on_leak, "register": Switch.of(register)}
    with tracked_run(settings, "sweep_cv", {**asked, "candidates": len(candidates)}) as run:
        with probed_leads(contract, data, features, folds, seed, register, on_leak) as leads:
            found = cross_validate(leads, candidates, metric, parallelism, seed)
            for number, candidate in enumerate(found):
                log_candidate(settings, "sweep_cv", number, candidate, metric, {"feature_set": features})
            winner = max(found, key=lambda c: c.mean)
            fitted = fit_servable(leads, winner.params, Finish(grades=settings.grade_rule(), parallelism=parallelism))
        log_table(found, metric)
        log_figures({"candidates": _picture(found, metric, run.info.run_id)})
        Picked(winner, metric).log()
        return report(settings, contract, data, Fitted(fitted, features, fields), register, explain)


def _picture(found: list[Candidate], metric: str, run_id: str) -> Any:
    rows = [{**c.params.model_dump(exclude={"seed"}), metric: c.mean, "std": c.std} for c in found]
    varied = [n for n in ForestParams.model_fields if n != "seed" and len({str(row[n]) for row in rows}) > 1]
    subject = f"cross-validation of {len(rows)} candidates; run {run_id[:8]}"
    if len(varied) == 2:
        return sweep_plots.grid_heatmap(rows, varied[0], varied[1], metric, "std", subject)
    kept = [{k: row[k] for k in (*(varied or ["trees", "depth"]), metric)} for row in rows]
    return sweep_plots.parallel_coordinates(kept, metric, subject)


if __name__ == "__main__":
    run_command(sweep_cv)
