"""The registry's moves, on a real MLflow registry in SQLite; a version needs an artifact, not a Spark model."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from serving.registry import (
    NeverServed,
    NoSuchAlias,
    NoSuchModel,
    NoSuchVersion,
    NothingToRollBack,
    move_production,
    resolve,
    roll_back,
    versions,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
GATE = {"passed": True, "checks": []}
CHANGES = (
    "set_model_version_tag",
    "delete_model_version_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "transition_model_version_stage",
)


class Killed(Exception):
    """Stands for a process that ends here."""


class DyingClient(MlflowClient):
    """A client whose process ends right after its n-th change (0: before the first)."""

    def __init__(self, uri: str, lives: int) -> None:
        super().__init__(uri)
        self.lives = lives

    def spend(self, change, *args, **kwargs):
        if self.lives == 0:
            raise Killed
        result = getattr(MlflowClient, change)(self, *args, **kwargs)
        self.lives -= 1
        if self.lives == 0:
            raise Killed
        return result


for name_of_change in CHANGES:
    setattr(DyingClient, name_of_change, lambda self, *a, _change=name_of_change, **k: self.spend(_change, *a, **k))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A tracking URI, and the source of every version: an artifact of a run."""
    folder: Path = tmp_path_factory.mktemp("registry")
    uri, before = f"sqlite:///{folder}/mlflow.db", mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    experiment = client.create_experiment("registry", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "a model", "model/MLmodel")
    yield uri, f"runs:/{run.info.run_id}/model"
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(store) -> MlflowClient:
    return MlflowClient(store[0])


@pytest.fixture
def name(store, client, request) -> str:
    """A model of this test's own, with versions 1 to 4."""
    return make_model(store, client, request.node.name.replace("/", "-").replace(":", "-"))


def make_model(store, client, name, count=4):
    client.create_registered_model(name)
    for number in range(1, count + 1):
        client.create_model_version(name, store[1], run_id=store[1].split("/")[1], tags={"n": str(number)})
    return name


def promote(client, name, version, hours=0):
    now = NOON + timedelta(hours=hours)
    return move_production(client, name, version, reason="better", who="ann", now=now, gate=GATE)


def undo(client, name, to=None, hours=10):
    return roll_back(client, name, to=to, reason="worse", who="bob", now=NOON + timedelta(hours=hours))


def state(client, name):
    """All that a move may change: aliases, and stage and tags by version."""
    return dict(client.get_registered_model(name).aliases), {
        v.version: (v.stage, v.tags) for v in versions(client, name)
    }


def aliases(client, name):
    return {alias: int(number) for alias, number in state(client, name)[0].items()}


def stages(client, name):
    return {number: stage for number, (stage, _) in state(client, name)[1].items() if stage != "None"}


def tags(client, name, version):
    return resolve(client, name, str(version)).tags


def test_a_number_resolves_to_its_version(client, name):
    found = resolve(client, name, "2")
    assert (found.version, found.tags["n"], found.uri) == (2, "2", f"models:/{name}/2")


def test_an_alias_resolves_to_the_version_it_names_now(client, name):
    promote(client, name, 3)
    before = resolve(client, name)
    promote(client, name, 4)
    assert (before.version, resolve(client, name).version, resolve(client, name, "Previous").version) == (3, 4, 3)


def test_a_resolved_version_names_the_run_that_logged_it(store, client, name):
    assert resolve(client, name, "1").run_id == store[1].split("/")[1]


def test_an_unknown_model_is_answered_with_train(client):
    with pytest.raises(NoSuchModel, match=r"no model 'nobody'.*mlflow run \. -e train"):
        resolve(client, "nobody")


def test_an_empty_production_is_answered_with_promote(client, name):
    with pytest.raises(NoSuchAlias, match=r"in Production yet; run `mlflow run \. -e promote`"):
        resolve(client, name)


@pytest.mark.parametrize("number", ["0", "5", "99999999999999999999"])
def test_an_unknown_version_is_answered_with_those_that_exist(client, name, number):
    with pytest.raises(NoSuchVersion, match=rf"no version {number}; it has 4, 3, 2, 1\."):
        resolve(client, name, number)


@pytest.mark.parametrize("which", ["Champion", "", "-1", "production"])
def test_an_unknown_alias_is_answered_with_those_that_exist(client, name, which):
    promote(client, name, 1)
    with pytest.raises(NoSuchAlias, match=r"aliases: Production"):
        resolve(client, name, which)


def test_versions_come_newest_first_from_every_page(client, name):
    assert [v.version for v in versions(client, name, page=3)] == [4, 3, 2, 1]


def test_versions_of_a_model_with_a_quote_in_its_name_are_found(store, client):
    make_model(store, client, "ann's leads", 1)
    assert [v.name for v in versions(client, "ann's leads")] == ["ann's leads"]


def test_a_model_without_versions_has_none(client):
    assert versions(client, "nobody") == []


def test_the_first_promotion_sets_alias_and_stage(client, name):
    move = promote(client, name, 2)
    assert (move.production.version, move.replaced, move.changed) == (2, None, True)
    assert (aliases(client, name), stages(client, name)) == ({"Production": 2}, {2: "Production"})


def test_a_promotion_keeps_the_replaced_version_as_previous_and_archives_it(client, name):
    promote(client, name, 2)
    move = promote(client, name, 4)
    assert move.replaced == 2
    assert aliases(client, name) == {"Production": 4, "Previous": 2}
    assert stages(client, name) == {4: "Production", 2: "Archived"}


def test_a_promotion_is_signed_on_the_version(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    found = tags(client, name, 2)
    assert (found["promoted_at"], found["promoted_by"]) == ("2026-01-02T12:00:00+00:00", "ann")
    assert (found["promotion_reason"], found["previous_version"]) == ("better", "1")
    assert found["gate"] == '{"checks": [], "passed": true}'


def test_promoting_an_unknown_version_changes_nothing(client, name):
    promote(client, name, 1)
    before = state(client, name)
    with pytest.raises(NoSuchVersion):
        promote(client, name, 9)
    assert state(client, name) == before


def test_promoting_what_is_in_production_changes_nothing(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    before = state(client, name)
    assert promote(client, name, 2, hours=5).changed is False
    assert state(client, name) == before


def test_promoting_what_is_in_production_mends_stage_and_previous(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    before = state(client, name)
    client.delete_registered_model_alias(name, "Previous")
    client.transition_model_version_stage(name, "2", "Staging")
    assert promote(client, name, 2, hours=5).changed is True
    assert state(client, name) == before


def test_a_version_promoted_by_hand_is_archived_by_the_next_promotion(client, name):
    client.set_registered_model_alias(name, "Production", "1")
    promote(client, name, 2)
    assert (aliases(client, name)["Previous"], stages(client, name)) == (1, {2: "Production", 1: "Archived"})


def test_a_previous_set_by_hand_is_kept_for_a_production_set_by_hand(client, name):
    client.set_registered_model_alias(name, "Production", "2")
    client.set_registered_model_alias(name, "Previous", "1")
    promote(client, name, 2)
    assert aliases(client, name) == {"Production": 2, "Previous": 1}


def test_no_deprecation_of_stages_is_shown(client, name, recwarn):
    promote(client, name, 1)
    assert [str(w.message) for w in recwarn if "transition_model_version_stage" in str(w.message)] == []


def test_a_rollback_restores_the_previous_version(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    move = undo(client, name)
    assert (move.production.version, move.replaced, move.changed) == (1, 2, True)
    assert (aliases(client, name), stages(client, name)) == ({"Production": 1}, {1: "Production", 2: "Archived"})


def test_a_rollback_is_signed_on_the_version_that_left(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    undo(client, name)
    left = tags(client, name, 2)
    assert left["rolled_back_at"] == "2026-01-02T22:00:00+00:00"
    assert (left["rolled_back_by"], left["rollback_reason"]) == ("bob", "worse")


def test_a_second_rollback_moves_nothing_and_says_how_to_go_further(client, name):
    for version in (1, 2, 3):
        promote(client, name, version)
    undo(client, name)
    before = state(client, name)
    with pytest.raises(NothingToRollBack, match=r"version 2 was put back .* from version 3.*-P version=N"):
        undo(client, name, hours=11)
    assert state(client, name) == before


def test_a_second_rollback_does_not_go_forward_to_the_version_that_was_left(client, name):
    for version in (2, 1, 2):
        promote(client, name, version)
    undo(client, name)
    with pytest.raises(NothingToRollBack):
        undo(client, name)
    assert aliases(client, name) == {"Production": 1}


def test_a_rollback_after_a_new_promotion_restores_what_that_one_replaced(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    undo(client, name)
    promote(client, name, 3)
    assert undo(client, name).production.version == 1


def test_the_first_version_in_production_has_nothing_to_go_back_to(client, name):
    promote(client, name, 1)
    with pytest.raises(NothingToRollBack, match="replaced no other version"):
        undo(client, name)


def test_a_rollback_of_an_empty_production_is_answered_with_promote(client, name):
    with pytest.raises(NoSuchAlias, match="promote"):
        undo(client, name)


def test_a_rollback_to_a_deleted_version_names_those_that_exist(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    client.delete_model_version(name, "1")
    with pytest.raises(NoSuchVersion, match=r"no version 1; it has 4, 3, 2\."):
        undo(client, name)


def test_a_rollback_goes_to_a_named_version_that_once_served(client, name):
    for version in (1, 2, 3):
        promote(client, name, version)
    assert undo(client, name, to=1).production.version == 1
    assert stages(client, name) == {1: "Production", 2: "Archived", 3: "Archived"}


def test_a_rollback_to_a_version_that_never_served_names_those_that_did(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    with pytest.raises(NeverServed, match=r"version 4 was never in Production \(these were: 2, 1\)"):
        undo(client, name, to=4)


def test_a_promotion_that_never_came_to_be_does_not_count_as_service(store, client, name):
    promote(client, name, 1)
    with pytest.raises(Killed):
        promote(DyingClient(store[0], 3), name, 2)
    with pytest.raises(NeverServed):
        undo(client, name, to=2)


def test_a_rollback_to_the_version_in_production_changes_nothing(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    before = state(client, name)
    assert undo(client, name, to=2).changed is False
    assert state(client, name) == before


def test_a_rolled_back_version_may_be_named_and_is_then_no_longer_marked(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    undo(client, name)
    undo(client, name, to=2)
    assert aliases(client, name)["Production"] == 2
    assert "rolled_back_at" not in tags(client, name, 2)
    assert "rolled_back_at" in tags(client, name, 1)


def test_a_rolled_back_version_that_is_promoted_again_is_no_longer_marked(client, name):
    promote(client, name, 1)
    promote(client, name, 2)
    undo(client, name)
    promote(client, name, 2)
    assert "rolled_back_at" not in tags(client, name, 2)
    assert undo(client, name).production.version == 1


@pytest.fixture(scope="module")
def history(store, tmp_path_factory):
    """A function that gives the URI of a new registry: version 3 in Production, 4 both restored and rolled back."""
    folder, client = tmp_path_factory.mktemp("history"), MlflowClient(store[0])
    make_model(store, client, "history")
    for version in (1, 4, 2):
        promote(client, "history", version)
    undo(client, "history")
    undo(client, "history", to=1)
    for version in (2, 3):
        promote(client, "history", version)

    def copied() -> str:
        return f"sqlite:///{shutil.copy(store[0].removeprefix('sqlite:///'), folder / f'{next(numbers)}.db')}"

    numbers = itertools.count()
    return copied


def outcome(client):
    """Aliases, stages and the names of tags: the times of a first and a second attempt differ."""
    marks = {number: sorted(found) for number, (_, found) in state(client, "history")[1].items()}
    return aliases(client, "history"), stages(client, "history"), marks


def killed_and_repeated(history, move):
    """Kill `move` after each of its changes and repeat it: which version served in between, and the outcome."""
    ends = []
    for lives in itertools.count():
        client = MlflowClient(uri := history())
        try:
            move(DyingClient(uri, lives), 0)
        except Killed:
            served = aliases(client, "history")["Production"]
            # A rollback that was complete when its process died has nothing left to undo.
            with contextlib.suppress(NothingToRollBack):
                move(client, 1)
            ends.append((served, outcome(client)))
        else:
            break
    return ends


@pytest.mark.parametrize(
    "move",
    [
        lambda client, hours: promote(client, "history", 4, hours),
        lambda client, hours: undo(client, "history", None, 20 + hours),
        lambda client, hours: undo(client, "history", 4, 20 + hours),
    ],
    ids=["promote", "roll-back", "roll-back-to-a-rolled-back-one"],
)
def test_a_move_killed_after_any_change_and_repeated_ends_the_same(history, move):
    client = MlflowClient(history())
    move(client, 0)
    wanted = outcome(client)
    ends = killed_and_repeated(history, move)
    assert len(ends) > 5
    assert {served for served, _ in ends} == {3, wanted[0]["Production"]}
    assert [end for _, end in ends] == [wanted] * len(ends)


def test_until_the_alias_moves_a_killed_promotion_leaves_the_old_version_serving(store, client, name):
    promote(client, name, 1)
    with pytest.raises(Killed):
        promote(DyingClient(store[0], 6), name, 2)
    assert aliases(client, name) == {"Production": 1, "Previous": 1}
    assert stages(client, name) == {1: "Production"}


def test_a_rollback_instead_of_repeating_a_killed_promotion_undoes_it(store, client, name):
    promote(client, name, 1)
    with pytest.raises(Killed):
        promote(DyingClient(store[0], 7), name, 2)
    assert aliases(client, name) == {"Production": 2, "Previous": 1}
    undo(client, name)
    assert (aliases(client, name), stages(client, name)) == ({"Production": 1}, {1: "Production", 2: "Archived"})
