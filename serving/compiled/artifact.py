"""The compiled artifact of a registry version: whether it has one, and loading it."""

import tempfile
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from serving.away import is_away
from serving.compiled.errors import CompiledAway, CompiledUnreadable
from serving.compiled.paths import refuse_unexplainable
from serving.compiled.scorer import CompiledScorer
from serving.errors import ServingError
from serving.registry import ResolvedVersion

# Tags of a version: what became of compiling it, where the artifact is, how far it was from Spark at most.
STATE, ADDRESS, DIFFERENCE = "compiled", "compiled_uri", "compiled_difference"
OK, REFUSED, DIFFERS = "ok", "cannot compile", "differs"
FOLDER = "compiled"


class NotCompiled(ServingError):
    """A version has no compiled artifact, or one that was found to differ from Spark."""


def has_compiled(version: ResolvedVersion) -> bool:
    """Whether a version has a compiled artifact that gave the same scores as Spark when it was logged."""
    return version.tags.get(STATE) == OK and bool(version.tags.get(ADDRESS))


def load_explaining(version: ResolvedVersion, threads: int = 1) -> CompiledScorer:
    """`load_compiled`, for reasons: CannotExplain where the version's scores cannot be told apart by field."""
    if not has_compiled(version):
        raise NotCompiled(
            f"{version.name} version {version.version} has no compiled scorer "
            f"({version.tags.get(STATE, 'it was logged without one')}), which reasons need; take reasons=false, or "
            "train again."
        )
    scorer = load_compiled(version, threads)
    refuse_unexplainable(scorer.description)
    return scorer


def load_compiled(version: ResolvedVersion, threads: int = 1) -> CompiledScorer:
    """Load the compiled artifact of a version.

    NotCompiled where it has none, CompiledUnreadable where it is gone; CompiledAway, which is one, where its store does
    not answer.
    """
    if not has_compiled(version):
        raise NotCompiled(
            f"{version.name} version {version.version} has no compiled scorer "
            f"({version.tags.get(STATE, 'it was logged without one')}); score with engine=spark, or train again."
        )
    with tempfile.TemporaryDirectory(prefix="lead-scoring-compiled-") as scratch:
        address = version.tags[ADDRESS]
        try:
            folder = mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=scratch)
        except (MlflowException, OSError) as error:
            kind, remedy = (CompiledAway, "Start") if is_away(error) else (CompiledUnreadable, "Restore")
            raise kind(
                f"the compiled scorer of {version.name} version {version.version} cannot be read from {address}: "
                f"{str(error)[:200]}. {remedy} the artifact store, or score with engine=spark."
            ) from error
        return CompiledScorer.load(Path(folder) / "artifacts" / FOLDER, threads)
