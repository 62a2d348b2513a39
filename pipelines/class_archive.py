"""class_archive: Spark's classes in one file that Java maps into memory, in place of reading them from 200 jars.

Java's application class-data sharing (JEP 350). A file fits one Java and one installation of Spark, and is named after
both; elsewhere nothing is found, and Spark starts as it always does.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import pyspark
import typer

from features.errors import LeadScoringError
from pipelines.commands import run_command
from pipelines.settings import ROOT

FOLDER = ROOT / ".jars" / "classes"
QUIET = "-Xlog:disable"  # an archive that does not fit is passed over without a word


class NoArchive(LeadScoringError):
    """Java left no archive behind."""


def archive_of(java: str) -> Path:
    """Where the archive for a Java (what it says of its version) and this process's Spark lies, if it was made."""
    fits = f"{java}|{Path(pyspark.__file__).parent}"
    return FOLDER / f"{hashlib.sha256(fits.encode()).hexdigest()[:16]}.jsa"


def archive_options(java: str) -> str:
    """The options by which Java takes the archive; none where it was not made."""
    archive = archive_of(java)
    return f' "-XX:SharedArchiveFile={archive}" -Xshare:auto {QUIET}' if archive.is_file() else ""


def class_archive(
    warm_up: Annotated[Path | None, typer.Option(help="for this command's own use", hidden=True)] = None,
) -> None:
    """Make the archive, where there is none that fits: Spark's commands then start and end sooner."""
    from pipelines.session import check_java

    if warm_up is not None:
        _load_classes(warm_up)
        return
    archive = archive_of(check_java())
    if archive.is_file():
        print("Spark's classes are archived")
        return
    print("Archiving Spark's classes (once, about two minutes)", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lead-scoring-classes-") as name:
        made = Path(name) / "made.jsa"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LEADS_DATA": f"{name}/data",
            "MLFLOW_TRACKING_URI": f"sqlite:///{name}/mlflow.db",
        }
        environment.pop("MLFLOW_RUN_ID", None)
        # Java writes the archive when it ends, after Python; its end of the pipe closes last.
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.class_archive", "--warm-up", str(made)],
            env=environment,
            cwd=name,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not made.is_file():
            raise NoArchive(f"Spark's classes could not be archived: {(done.stderr or done.stdout).strip()[-500:]}")
        for old in FOLDER.glob("*"):
            old.unlink()
        # Whole or not at all, as Java stops at half an archive.
        part = archive.with_suffix(".part")
        part.write_bytes(made.read_bytes())
        part.replace(archive)
    print(f"{archive.stat().st_size / 1e6:.0f} MB in {archive.relative_to(ROOT)}")


def _load_classes(archive: Path) -> None:
    """Do what commands do, on a sample, in a Java that archives what it has loaded when it ends."""
    from evaluation.fitting import Finish
    from evaluation.leakage import OnLeak
    from features.stages import ForestParams
    from pipelines.prepare import run_prepare
    from pipelines.session import JAVA_OPTIONS, spark_session
    from pipelines.settings import Settings
    from pipelines.stream import run_stream
    from pipelines.stream_options import StreamOptions
    from pipelines.tracking import connect
    from pipelines.training import run_train

    settings = Settings()
    client = connect(settings)
    client.create_experiment(settings.experiment, artifact_location=(archive.parent / "runs").as_uri())
    options = f'{JAVA_OPTIONS} "-XX:ArchiveClassesAtExit={archive}" {QUIET}'
    with spark_session(settings, "class-archive", spark__driver__extraJavaOptions=options) as spark:
        run_prepare(spark, settings)
        finish = Finish(grades=settings.grade_rule())
        made = run_train(
            spark, settings, "available", ForestParams(trees=5, depth=4), finish, on_leak=OnLeak.WARN, explain=False
        )
        client.set_registered_model_alias(settings.model_name, "Production", str(made.version))
        output, checkpoint = (f"{settings.data}/{kind}" for kind in ("scores", "checkpoint"))
        stream = StreamOptions(sink="parquet", output=output, checkpoint=checkpoint, available_now=True)
        run_stream(spark, settings, stream.model_copy(update={"max_files_per_trigger": 100}))


if __name__ == "__main__":
    run_command(class_archive)
