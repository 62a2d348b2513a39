"""The tracked run that a stream belongs to, which a registry that is away must not end."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import mlflow
from mlflow.exceptions import MlflowException

from pipelines.settings import Settings
from pipelines.tracking import TrackingUnreachable, tracked_run
from serving.away import is_away
from serving.errors import Away, one_line
from serving.runtime.journal import Journal


@contextmanager
def lenient_run(
    settings: Settings, params: dict[str, object], journal: Journal, awaited: Callable[..., mlflow.ActiveRun]
) -> Iterator[mlflow.ActiveRun]:
    """A tracked run that is waited for, and whose own end may fail.

    A registry that is down must not turn a good stop into a bad one.
    """
    ended, taken_over = False, os.environ.get("MLFLOW_RUN_ID")

    def opened() -> mlflow.ActiveRun:
        if taken_over:  # a try before this one may have used it up
            os.environ["MLFLOW_RUN_ID"] = taken_over
        try:
            return held.enter_context(tracked_run(settings, "stream", params))
        except TrackingUnreachable as error:
            raise Away(one_line(error)) from error
        except MlflowException as error:
            if is_away(error):
                raise Away(one_line(error)) from error
            raise

    try:
        with ExitStack() as held:
            yield awaited(opened, Away)
            ended = True
    except MlflowException as error:
        if not ended:
            raise
        journal.say("registry", state="unreachable", reason=one_line(error))


def record(measured: Mapping[str, float], versions: Sequence[int], journal: Journal) -> None:
    """Log to the run what a stream measured, and the versions that served, in their order; a line where that fails."""
    try:
        mlflow.log_metrics(dict(measured))
        mlflow.set_tag("model_versions", ",".join(map(str, dict.fromkeys(versions))))
    except MlflowException as error:
        journal.say("registry", state="unreachable", reason=one_line(error))
