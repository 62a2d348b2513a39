"""What a stream says where a disk takes no more of what it writes."""

import contextlib
from collections.abc import Iterator

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException

from features.storage import NoRoom, Storage, no_room

REMEDY = (
    "Make room there and in Spark's temporary folder, then start again: the batch is repeated, and nothing is lost."
)


@contextlib.contextmanager
def naming_a_full_disk(storage: Storage, what: str, place: str, begun: str) -> Iterator[None]:
    """NoRoom where a full disk makes the block fail: `what` could not be written to `place`; `begun` is removed."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        fault = no_room(error)
        if not fault:
            raise
        with contextlib.suppress(Exception):  # else the next start removes it
            storage.delete(begun)
        raise NoRoom(f"{what} could not be written to {place}: {fault}. {REMEDY}") from None
