"""Whose a folder is: markers that tie a query's checkpoint, source and output together."""

import itertools
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from features.storage import Storage, join
from serving.errors import ServingError

MARKER = "_lead_scoring.json"
CHECKPOINT = "checkpoint of a lead-scoring query"
QUERY_OUTPUT = "scores of a lead-scoring query"


class NotOurs(ServingError):
    """A folder holds something that was not written here."""


class Entangled(ServingError):
    """Source, output and checkpoint of a query lie inside one another."""


class OtherQuery(ServingError):
    """A checkpoint or an output folder belongs to another query."""


class OlderCheckpoint(ServingError):
    """A checkpoint is an older copy: its query has written batches that it knows nothing of."""


@dataclass(frozen=True)
class Places:
    """What a query reads and writes, as absolute URIs; `output` is empty where nothing is stored."""

    source: str
    output: str
    checkpoint: str


def lies_in(inner: str, outer: str) -> bool:
    """Whether an absolute URI is another one or within it; s3: and s3a: name the same store."""
    one, other = (f"{re.sub('^s3[an]:', 's3:', uri).rstrip('/')}/" for uri in (inner, outer))
    return one.startswith(other)


def absolute(spark: SparkSession, uri: str) -> str:
    """A path as Spark will see it: scheme and root filled in."""
    path: Any = spark._jvm.org.apache.hadoop.fs.Path(uri)  # type: ignore[union-attr]
    conf: Any = spark._jsparkSession.sessionState().newHadoopConf()
    return str(path.getFileSystem(conf).makeQualified(path).toString())


def read_marker(storage: Storage, folder: str, kind: str) -> dict[str, Any] | None:
    """What the marker of a folder of this kind says, or None where the folder is absent or empty.

    NotOurs where the folder holds something without a marker, or with the marker of another kind, or is a file.
    """
    marker = join(folder, MARKER)
    if storage.exists(marker):
        try:
            found = storage.read_json(marker)
        except ValueError:
            raise NotOurs(f"{marker} is not JSON any more; delete {folder}, or name another folder.") from None
        if found.get("kind") != kind:
            raise NotOurs(f"{folder} holds the {found.get('kind')}, not the {kind}; name another folder.")
        return found
    if storage.list(folder):
        raise NotOurs(
            f"{folder} is not empty and carries no {MARKER}: it was not written here, so nothing is written into it. "
            "Name a new or an empty folder."
        )
    return None


def write_marker(storage: Storage, folder: str, kind: str, **content: Any) -> None:
    """Mark a folder as ours, whole or not at all."""
    storage.write_json(join(folder, MARKER), {"kind": kind, **content})


def bind(
    storage: Storage, places: Places, model: str, dead_letters: str = "", topics: Mapping[str, str] | None = None
) -> str:
    """Tie checkpoint, source and output together, or find them tied; the query's short id.

    Nothing is written unless all three belong together. Entangled where one, or the folder of `dead_letters`, lies
    inside another, NotOurs where a folder holds something else, OtherQuery where the checkpoint was made for another
    source or output, the output for another checkpoint, or one is gone. `topics` are the ids of the source's topics
    (serving.topics.topic_ids): OtherQuery where the checkpoint has read one of another id.
    """
    topics = dict(topics or {})
    _refuse_entangled(places, dead_letters)
    known = read_marker(storage, places.checkpoint, CHECKPOINT)
    if known is None:
        _refuse_written(storage, places)
        known = {"id": uuid.uuid4().hex, "source": places.source, "output": places.output}
        write_marker(storage, places.checkpoint, CHECKPOINT, **known)
    _refuse_other(known, places)
    read = known.get("topics", {}) if storage.list(join(places.checkpoint, "sources")) else {}
    _refuse_other_topics(read, topics, places)
    if places.output:
        _claim(storage, places, known["id"], model)
    if topics and known.get("topics") != (named := {**topics, **read}):
        write_marker(storage, places.checkpoint, **{**known, "kind": CHECKPOINT, "topics": named})
    return f"q{known['id'][:8]}"


def refuse_older(storage: Storage, checkpoint: str, written: int | None, where: str) -> None:
    """OlderCheckpoint where a batch was `written` that the checkpoint has not planned: one restored from a backup.

    Its next batch would have the number of one that was written, and other events: where batches are known by their
    numbers these would be passed over, or stand there twice.
    """
    planned = [int(e.name) for e in storage.list(join(checkpoint, "offsets")) if e.name.isdecimal()]
    newest = max(planned, default=-1)
    if written is not None and written > newest:
        raise OlderCheckpoint(
            f"{checkpoint} is an older copy: it ends with batch {newest}, and batch {written} of its query is in "
            f"{where} already. Going on from there would lose events or store them twice. Start with a new checkpoint "
            "and a new output (docs/operations.md, The checkpoint is lost)."
        )


def _refuse_entangled(places: Places, dead_letters: str) -> None:
    named = {**vars(places), "dead_letters": dead_letters}
    for inner, outer in itertools.permutations([name for name, uri in named.items() if uri], 2):
        if lies_in(named[inner], named[outer]):
            raise Entangled(
                f"the {inner} {named[inner]} lies in the {outer} {named[outer]}; name folders beside one another."
            )


def _refuse_written(storage: Storage, places: Places) -> None:
    """A query without a checkpoint must not write into an output that has batches of one."""
    if not places.output:
        return
    mark = read_marker(storage, places.output, QUERY_OUTPUT)
    if mark is None:
        return
    if mark.get("checkpoint_uri") == places.checkpoint:
        raise OtherQuery(
            f"{places.output} holds the scores of a query whose checkpoint {places.checkpoint} is gone; a new one "
            "would score every lead again. Name a new output folder, or delete this one."
        )
    raise OtherQuery(
        f"{places.output} is written by the query with the checkpoint {mark.get('checkpoint_uri')}, not "
        f"{places.checkpoint}. Name that checkpoint, or a new output folder."
    )


def _refuse_other(known: dict[str, Any], places: Places) -> None:
    for what, asked in (("source", places.source), ("output", places.output)):
        if known.get(what) != asked:
            found = known.get(what) or "the console"
            raise OtherQuery(
                f"{places.checkpoint} is the checkpoint of another query: its {what} is {found}, "
                f"not {asked or 'the console'}. Name another checkpoint, or that {what}."
            )


def _refuse_other_topics(known: Mapping[str, str], topics: Mapping[str, str], places: Places) -> None:
    """Offsets of one topic mean other events in another of its name: those before them would never be read."""
    others = [name for name, found in topics.items() if known.get(name, found) != found]
    if others:
        raise OtherQuery(
            f"{places.checkpoint} has read another topic {', '.join(others)}: this one was made anew, or lies on "
            "another Kafka cluster. Name the cluster that the checkpoint was made for (LEADS_KAFKA), or a new "
            "checkpoint and a new output."
        )


def _claim(storage: Storage, places: Places, checkpoint_id: str, model: str) -> None:
    mark = read_marker(storage, places.output, QUERY_OUTPUT)
    if mark is None:
        if storage.list(join(places.checkpoint, "commits")):
            raise OtherQuery(
                f"the scores that the checkpoint {places.checkpoint} has on record are gone from {places.output}. "
                "Bring them back, or start again with a new checkpoint."
            )
        about = {"checkpoint": checkpoint_id, "checkpoint_uri": places.checkpoint, "model": model}
        write_marker(storage, places.output, QUERY_OUTPUT, **about)
    elif mark.get("checkpoint") != checkpoint_id:
        raise OtherQuery(
            f"{places.output} belongs to a checkpoint of another query ({mark.get('checkpoint_uri')}), not to "
            f"{places.checkpoint}. Name that checkpoint, or a new output folder and a new checkpoint."
        )
