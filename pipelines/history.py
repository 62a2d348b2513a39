"""history: every promotion, refusal and rollback on record, newest first, with who, when and why."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.table import Table

from pipelines.commands import console_of, run_command
from pipelines.settings import Settings
from pipelines.tracking import connect
from serving.registry import PROMOTED_AT, ROLLED_BACK_AT, versions

ENTRIES = {"promote": "promoted_by", "rollback": "rolled_back_by"}
PAGE = 1000
WIDTH = 160  # columns, at which nothing of an event is cut


@dataclass(frozen=True)
class Event:
    """One thing that happened to Production, or was refused: `at` in UTC, `run_id` of the audit run or empty."""

    at: datetime
    what: str
    version: str
    result: str
    who: str
    why: str
    note: str
    run_id: str


def history(limit: Annotated[int, typer.Option(min=1, help="most events to show")] = 50) -> None:
    """List what happened to Production."""
    settings = Settings()
    events = run_history(settings)
    if not events:
        print(f"Nothing was promoted, refused or rolled back for {settings.model_name} yet.")
        return
    console_of(WIDTH).print(table(events[:limit], settings.model_name))
    if len(events) > limit:
        print(f"{len(events) - limit} older ones: -P limit={len(events)}")


def run_history(settings: Settings) -> list[Event]:
    """Every event of the model, newest first: from audit runs of any experiment, and from versions' tags.

    A move whose audit run is gone is told from the tags of its version.
    """
    client = connect(settings)
    events = [_event(run, entry) for entry in ENTRIES for run in _runs(client, entry, settings.model_name)]
    told = {(e.version, e.result) for e in events}
    for version in versions(client, settings.model_name):
        number = str(version.version)
        for tag, result, who, why in (
            (PROMOTED_AT, "promoted", "promoted_by", "promotion_reason"),
            (ROLLED_BACK_AT, "left", "rolled_back_by", "rollback_reason"),
        ):
            if tag in version.tags and (number, result) not in told | {(_left(e), "left") for e in events}:
                at = datetime.fromisoformat(version.tags[tag])
                said = (version.tags.get(who, ""), version.tags.get(why, ""))
                events.append(Event(at, "version's tags", number, result, *said, "no audit run", ""))
    return sorted(events, key=lambda e: e.at, reverse=True)


def table(events: list[Event], model: str) -> Table:
    """The events for a terminal."""
    shown = Table(title=f"History of {model} in Production, newest first")
    for name in ("when (UTC)", "what", "version", "result", "who", "why", "note", "audit run"):
        shown.add_column(name, overflow="fold")
    for e in events:
        when = e.at.strftime("%Y-%m-%d %H:%M:%S")
        cells = (when, e.what, e.version, e.result, e.who, e.why, e.note, e.run_id[:8])
        # Words of a user are text, never markup.
        shown.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return shown


def _runs(client: MlflowClient, entry: str, model: str) -> list[Run]:
    experiments = [e.experiment_id for e in client.search_experiments()]
    found: list[Run] = []
    token = None
    while True:
        query = f"tags.entry_point = '{entry}'"
        part = client.search_runs(experiments, query, max_results=PAGE, page_token=token)
        found += [run for run in part if run.data.tags.get("model_name", model) == model]
        token = part.token
        if not token:
            return found


def _event(run: Run, entry: str) -> Event:
    tags, params = run.data.tags, run.data.params
    result = tags.get("decision") or ("running" if run.info.status == "RUNNING" else "failed")
    note = f"instead of version {tags['left_version']}" if tags.get("left_version") else ""
    if result in ("refused", "failed", "overtaken"):
        note = " ".join(tags.get("error", "").split())[:200]
    return Event(
        at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        what=entry,
        version=tags.get("model_version", params.get("version", "")),
        result=result,
        who=tags.get(ENTRIES[entry], tags.get("mlflow.user", "")),
        why=params.get("reason", ""),
        note=note,
        run_id=run.info.run_id,
    )


def _left(event: Event) -> str:
    prefix = "instead of version "
    return event.note.removeprefix(prefix) if event.what == "rollback" and event.note.startswith(prefix) else ""


if __name__ == "__main__":
    run_command(history)
