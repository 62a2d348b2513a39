"""demo: the whole way from leads to live scores, on the embedded store, under a progress display."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import mlflow
import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from evaluation.tpe import SearchSpace
from features.contract import Contract
from features.contract_file import load_yaml
from features.storage import Storage, join
from pipelines.commands import console_of, run_command
from pipelines.prepare import run_prepare
from pipelines.promote import GateRefused, NoCandidate, Promotion, run_promote
from pipelines.reporting import Reported
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.stream import StreamSummary, run_stream
from pipelines.stream_options import StreamOptions
from pipelines.sweep_cv import run_sweep_cv
from pipelines.sweep_hyperopt import SPACE, Sweep, run_sweep_hyperopt
from pipelines.tracking import connect
from pipelines.training import run_train
from serving.compiled.artifact import has_compiled
from serving.compiled.reasons import COLUMN
from serving.registry import resolve

GRID = "trees=20,50;depth=5,10"
WIDTH = 100  # columns, of which the ten hottest leads take about all


Note = Callable[[str], None]


@dataclass
class Steps:
    """Shows one line per step: a spinner while it runs, its outcome and seconds when it is done."""

    console: Console
    done: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, title: str, work: Callable[[Note], Any], outcome: Callable[[Any], str]) -> Any:
        """Do one step and say how it ended; `work` takes a function that shows how far it is."""
        self.done += 1
        start = time.monotonic()
        with self._spinner(f"{self.done}. {title}") as note:
            result = work(note)
        self.seconds[title] = time.monotonic() - start
        self.console.print(
            f"[green]done[/] {self.done}. {title}: {outcome(result)} [dim]({self.seconds[title]:.0f} s)[/]"
        )
        return result

    @contextmanager
    def _spinner(self, title: str) -> Iterator[Note]:
        if not self.console.is_terminal:
            self.console.print(f"     {title} ...")
            yield lambda _: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title)
            yield lambda words: progress.update(task, description=f"{title}: {words}")


def demo(
    csv: Annotated[str, typer.Option(help="leads to use; empty: the CSV in data/raw, else a generated sample")] = "",
    max_evals: Annotated[int, typer.Option(min=1, help="trials of the small hyperopt sweep")] = 4,
) -> None:
    """Prepare, train both feature sets, sweep, promote the best honest model, and score a stream of 100 files."""
    settings, console = Settings(), console_of(WIDTH)
    connect(settings)
    console.print(f"Lead scoring demo. Runs go to {mlflow.get_tracking_uri()}, data to {settings.data}.")
    with spark_session(settings, "demo") as spark:
        scores = run_demo(spark, settings, console, csv, max_evals)
        console.print(scored_table(scores, settings.contract()))
    console.print(closing(settings))


def run_demo(spark: SparkSession, settings: Settings, console: Console, csv: str = "", max_evals: int = 4) -> DataFrame:
    """All steps in one session; returns the scored leads."""
    steps = Steps(console)
    steps.run("prepare the leads", lambda _: run_prepare(spark, settings, csv), lambda r: _rows(r.manifest))
    for features in ("documented", "available"):
        steps.run(f"train the random forest, {features} features", partial(_train, spark, settings, features), _quality)
    steps.run(
        "sweep_cv, a small grid", lambda _: run_sweep_cv(spark, settings, "available", GRID, explain=False), _quality
    )
    sweep = Sweep("available", load_yaml(SPACE, SearchSpace), max_evals=max_evals, space_file=SPACE)
    steps.run(
        "sweep_hyperopt, a few trials", lambda _: run_sweep_hyperopt(spark, settings, sweep, explain=False), _quality
    )
    steps.run("promote the best of `available`", partial(_promote, spark, settings, console), str)
    streamed = steps.run("stream the files through Production", partial(_stream, spark, settings), str)
    return spark.read.parquet(streamed.output)


def _train(spark: SparkSession, settings: Settings, features: str, note: Note) -> Reported:
    return run_train(spark, settings, features, explain=features == "available")


def _promote(spark: SparkSession, settings: Settings, console: Console, note: Note) -> Promotion:
    """Promote the best version that passes the gate; GateRefused where none does."""
    refused: list[GateRefused] = []
    while True:
        skip = [e.version for e in refused if e.version is not None]
        try:
            return run_promote(spark, settings, reason="demo", passed_over=skip)
        except GateRefused as error:
            if error.version is None:
                raise
            console.print(f"[yellow]the gate refused[/] {escape(str(error))}")
            note("the next best")
            refused.append(error)
        except NoCandidate:
            if refused:
                raise refused[0] from None
            raise


def _stream(spark: SparkSession, settings: Settings, note: Note) -> StreamSummary:
    """Score all files into folders of the demo's own, from the first file on."""
    output, checkpoint = (join(settings.data, kind, "demo") for kind in ("scores", "checkpoints"))
    for folder in (output, checkpoint):
        Storage(spark).delete(folder)
    told = has_compiled(resolve(connect(settings), settings.model_name))
    options = StreamOptions(sink="parquet", output=output, checkpoint=checkpoint, available_now=True, reasons=told)
    return run_stream(spark, settings, options, report=lambda batch: note(f"micro-batch {batch.number + 1}"))


def scored_table(scores: DataFrame, contract: Contract, rows: int = 10) -> Table:
    """The ten best leads of the stream, as a salesperson would call them, with the strongest reason where told."""
    told = COLUMN in scores.columns
    best = scores.orderBy(F.desc("score"), contract.id.name).limit(rows).collect()
    table = Table(title=f"The {len(best)} hottest of {scores.count():,} streamed leads")
    named = {
        contract.id.name: "lead",
        "score": "score",
        "grade": "grade",
        # A reason takes the place of what is the same for all leads.
        **({} if told else {"model_version": "version", "scored_at": "scored at"}),
        contract.label.name: "converted",
    }
    shown = {column: title for column, title in named.items() if column in scores.columns}
    for column, title in shown.items():
        table.add_column(title, justify="left" if column == contract.id.name else "right", no_wrap=True)
    if told:
        table.add_column("main reason", overflow="fold")
    for row in best:
        why = [_main_reason(row[COLUMN])] if told else []
        # Words of a lead are no markup.
        table.add_row(*(Text(word) for word in [*(_cell(row[column]) for column in shown), *why]))
    return table


def closing(settings: Settings) -> str:
    """What to look at next."""
    found = mlflow.get_experiment_by_name(settings.experiment)
    runs = f"/#/experiments/{found.experiment_id}/runs" if found else ""
    how = f"--env-manager local --experiment-name {settings.experiment}"
    return (
        f"Compare the runs:   make ui            (then open http://127.0.0.1:5000{runs})\n"
        f"Train another:      mlflow run . -e train -P trees=200 {how}\n"
        f"Undo the promotion: mlflow run . -e rollback {how}\n"
        f"Your own leads:     put the CSV into {join(settings.data, 'raw')}, edit conf/leads.yaml, run make demo again"
    )


def _rows(manifest: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in manifest["rows"].items())


def _quality(reported: Any) -> str:
    m = reported.metrics
    return f"test AUC {m['test_auc_roc']:.3f}, accuracy {m['test_accuracy']:.3f}, version {reported.version}"


def _main_reason(reasons: list[Any]) -> str:
    """The reason of the most points, either way; nothing where no field moved the score."""
    return str(max(reasons, key=lambda reason: abs(reason["points"]))["text"]) if reasons else ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value.strftime("%H:%M:%S") if hasattr(value, "strftime") else str(value)


if __name__ == "__main__":
    run_command(demo)
