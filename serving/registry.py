"""The model registry: which version serves, and the moves that change it. Any move may be killed and repeated.

The alias `Production` decides alone which version serves; setting it is the single commit point of a move. Tags
are written before it. The alias `Previous` and the stages follow from it, and `_settle` makes them agree.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.errors import ServingError

PRODUCTION, PREVIOUS, ARCHIVED, NO_STAGE = "Production", "Previous", "Archived", "None"
PREVIOUS_VERSION, PROMOTED_AT = "previous_version", "promoted_at"
RESTORED_FROM, ROLLED_BACK_AT = "restored_from", "rolled_back_at"
ROLLED_BACK = (ROLLED_BACK_AT, "rolled_back_by", "rollback_reason")
RESTORED = (RESTORED_FROM, "restored_at")
LARGEST_VERSION = 2**31 - 1


class NoSuchModel(ServingError):
    """The registry holds no model of the name."""


class NoSuchAlias(ServingError):
    """The model has no version under an alias; for `Production`, nothing has been promoted yet."""


class NoSuchVersion(ServingError):
    """The model has no version of a number."""


class NothingToRollBack(ServingError):
    """No earlier version can be restored without being named."""


class NeverServed(ServingError):
    """A rollback names a version that was never in Production."""


@dataclass(frozen=True)
class ResolvedVersion:
    """One version of a model: a number, which later moves of an alias do not change."""

    name: str
    version: int
    run_id: str
    tags: dict[str, str]
    stage: str = NO_STAGE

    @property
    def uri(self) -> str:
        """Address by which MLflow loads it."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Move:
    """What a move left: the version in Production, the number of the one it replaced, and whether anything changed."""

    production: ResolvedVersion
    replaced: int | None
    changed: bool


def resolve(client: MlflowClient, name: str, which: str = PRODUCTION) -> ResolvedVersion:
    """Resolve an alias or a number once; NoSuchModel, NoSuchAlias or NoSuchVersion name what there is instead."""
    aliases = _aliases(client, name)
    if which.isdecimal():
        return _version(client, name, int(which))
    if which in aliases:
        return _version(client, name, int(aliases[which]))
    if which == PRODUCTION:
        raise NoSuchAlias(f"no version of {name} is in Production yet; run `mlflow run . -e promote`.")
    said = ", ".join(sorted(aliases)) or "none"
    raise NoSuchAlias(f"{name} has no alias {which!r} (aliases: {said}); name one of these, or a version's number.")


def versions(client: MlflowClient, name: str, page: int = 1000) -> list[ResolvedVersion]:
    """Every version of a model, newest first; `page` is how many one request brings. Empty for an unknown model."""
    quote = '"' if "'" in name else "'"
    found, token = {}, None
    while True:
        # By number: by the default order, by update, a version tagged meanwhile would slip from one page to another.
        part = client.search_model_versions(f"name={quote}{name}{quote}", page, ["version_number ASC"], token)
        found.update({int(v.version): _resolved(v) for v in part})
        token = part.token
        if not token:
            return [found[number] for number in sorted(found, reverse=True)]


def move_production(
    client: MlflowClient, name: str, version: int, *, reason: str, who: str, now: datetime, gate: Mapping[str, Any]
) -> Move:
    """Put a version into Production; the one it replaces becomes `Previous` and is archived.

    `gate` (JSON-like) is kept on the version. Where the version is in Production already, an interrupted move is
    finished and nothing else changes, so the move may be repeated after a failure at any point.
    """
    candidate, before = resolve(client, name, str(version)), _aliases(client, name).get(PRODUCTION)
    if before is not None and int(before) == version:
        return Move(candidate, None, _settle(client, name))
    tags = {PROMOTED_AT: now.isoformat(), "promoted_by": who, "promotion_reason": reason}
    tags |= {"gate": json.dumps(gate, sort_keys=True), PREVIOUS_VERSION: str(before or "")}
    _tag(client, candidate, tags)
    _untag(client, candidate, RESTORED)
    if before is not None:
        client.set_registered_model_alias(name, PREVIOUS, str(before))
    client.set_registered_model_alias(name, PRODUCTION, str(version))
    _settle(client, name)
    return Move(resolve(client, name), int(before) if before else None, True)


def roll_back(client: MlflowClient, name: str, *, to: int | None, reason: str, who: str, now: datetime) -> Move:
    """Put the version that Production replaced, or the once serving version `to`, back into Production.

    Without `to` one promotion is undone, once: repeated, it finishes an interrupted rollback and else raises
    NothingToRollBack, so that a command sent twice goes neither a second step back nor forward again to the version
    that was left. NeverServed where `to` was never in Production.
    """
    leaving = resolve(client, name)
    if to == leaving.version:
        return Move(leaving, None, _settle(client, name))
    if to is None and RESTORED_FROM in leaving.tags:
        if _settle(client, name):
            return Move(leaving, int(leaving.tags[RESTORED_FROM]), True)
        raise NothingToRollBack(
            f"{name} version {leaving.version} was put back at {leaving.tags.get('restored_at')} by the rollback from "
            f"version {leaving.tags[RESTORED_FROM]}; nothing has been promoted since. To go further back, name the "
            "version: `mlflow run . -e rollback -P version=N`."
        )
    target = _fallback_of(client, leaving) if to is None else _once_serving(client, name, to)
    _tag(client, target, {"restored_at": now.isoformat(), RESTORED_FROM: str(leaving.version)})
    _tag(client, leaving, dict(zip(ROLLED_BACK, (now.isoformat(), who, reason), strict=True)))
    client.set_registered_model_alias(name, PRODUCTION, str(target.version))
    _settle(client, name)
    return Move(resolve(client, name), leaving.version, True)


def _settle(client: MlflowClient, name: str) -> bool:
    """Make alias `Previous`, stages and tags agree with the alias `Production`; whether something had to change."""
    aliases, known = _aliases(client, name), {v.version: v for v in versions(client, name)}
    production = known[int(aliases[PRODUCTION])]
    steps: list[Callable[[], Any]] = []
    previous, found = _fallback(production, aliases), aliases.get(PREVIOUS)
    if previous in known and str(found) != str(previous):
        steps.append(partial(client.set_registered_model_alias, name, PREVIOUS, str(previous)))
    elif previous not in known and found is not None:
        steps.append(partial(client.delete_registered_model_alias, name, PREVIOUS))
    others = [v for v in known.values() if v is not production]
    if production.stage != PRODUCTION or any(v.stage == PRODUCTION for v in others):
        steps.append(partial(_set_stage, client, production, PRODUCTION))
    left = {production.tags.get(PREVIOUS_VERSION), production.tags.get(RESTORED_FROM)}
    unstaged = [v for v in others if str(v.version) in left and v.stage == NO_STAGE]
    steps += [partial(_set_stage, client, v, ARCHIVED) for v in unstaged]
    if any(tag in production.tags for tag in ROLLED_BACK):
        steps.append(partial(_untag, client, production, ROLLED_BACK))
    for step in steps:
        step()
    return bool(steps)


def _fallback(production: ResolvedVersion, aliases: Mapping[str, Any]) -> int | None:
    """What a rollback would restore: nothing after a rollback; without our tag, what `Previous` was set to by hand."""
    number = str(production.tags.get(PREVIOUS_VERSION, aliases.get(PREVIOUS, "")))
    if RESTORED_FROM in production.tags or not number.isdecimal() or int(number) == production.version:
        return None
    return int(number)


def _fallback_of(client: MlflowClient, leaving: ResolvedVersion) -> ResolvedVersion:
    name, number = leaving.name, _fallback(leaving, _aliases(client, leaving.name))
    if number is None:
        raise NothingToRollBack(
            f"{name} version {leaving.version} replaced no other version in Production, so there is none to go back "
            "to; promote another version: `mlflow run . -e promote -P version=N`."
        )
    target = _version(client, name, number)
    if ROLLED_BACK_AT in target.tags:
        raise NothingToRollBack(
            f"{name} version {leaving.version} replaced version {number}, which was itself rolled back at "
            f"{target.tags[ROLLED_BACK_AT]}; name the version to restore: `mlflow run . -e rollback -P version=N`."
        )
    return target


def _once_serving(client: MlflowClient, name: str, number: int) -> ResolvedVersion:
    """A version that was in Production; both its stage and a tag must say so, for a tag is written before a move."""
    target, known = _version(client, name, number), versions(client, name)
    replaced = {v.tags.get(PREVIOUS_VERSION) for v in known}
    served = [
        v.version
        for v in known
        if v.stage in (PRODUCTION, ARCHIVED) and (PROMOTED_AT in v.tags or str(v.version) in replaced)
    ]
    if number not in served:
        raise NeverServed(
            f"{name} version {number} was never in Production (these were: {', '.join(map(str, served)) or 'none'}); "
            f"a new version passes the gate first: `mlflow run . -e promote -P version={number}`."
        )
    return target


def _aliases(client: MlflowClient, name: str) -> dict[str, Any]:
    """Version number by alias."""
    try:
        return dict(client.get_registered_model(name).aliases)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise NoSuchModel(f"the registry holds no model {name!r}; train one: `mlflow run . -e train`.") from None


def _version(client: MlflowClient, name: str, number: int) -> ResolvedVersion:
    try:
        if number <= LARGEST_VERSION:
            return _resolved(client.get_model_version(name, str(number)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    known = [v.version for v in versions(client, name)]
    said = ", ".join(map(str, known[:20])) + (" and older ones" if len(known) > 20 else "")
    raise NoSuchVersion(f"{name} has no version {number}; it has {said or 'none: run `mlflow run . -e train`'}.")


def _resolved(found: ModelVersion) -> ResolvedVersion:
    stage = found.current_stage or NO_STAGE
    return ResolvedVersion(found.name, int(found.version), found.run_id or "", dict(found.tags), stage)


def _tag(client: MlflowClient, version: ResolvedVersion, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.version), key, value)


def _untag(client: MlflowClient, version: ResolvedVersion, keys: tuple[str, ...]) -> None:
    for key in (k for k in keys if k in version.tags):
        client.delete_model_version_tag(version.name, str(version.version), key)


def _set_stage(client: MlflowClient, version: ResolvedVersion, stage: str) -> None:
    """Stages are deprecated, and many who serve models still read them; Production archives the stage's others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*transition_model_version_stage.*deprecated", FutureWarning)
        client.transition_model_version_stage(version.name, str(version.version), stage, stage == PRODUCTION)
