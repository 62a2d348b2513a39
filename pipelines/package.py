"""package: the rooms and their configuration as one zip, which a cluster takes as --py-files."""

import zipfile
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import run_command
from pipelines.settings import CODE

PACKAGE = "lead_scoring.zip"
ROOMS = ("features", "evaluation", "serving", "pipelines")
CONTENTS = (*(f"{room}/**/*.py" for room in ROOMS), "evaluation/*.j2", "evaluation/*.jinja", "conf/*")
# The same code gives the same bytes: a zip cannot tell a time before this one.
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def package(
    output: Annotated[Path, typer.Option(help="where the zip goes")] = Path("dist") / PACKAGE,
) -> None:
    """Pack the code for `spark-submit --py-files`."""
    print(f"packed {write_package(output)} files into {output}")


def write_package(target: Path) -> int:
    """Write the zip, in which every Python of the cluster finds the rooms; the number of files in it.

    Needs a checkout or an image with the code in a folder: code that runs from the zip cannot pack itself.
    """
    files = sorted(path for pattern in CONTENTS for path in CODE.glob(pattern) if path.is_file())
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            name = zipfile.ZipInfo(path.relative_to(CODE).as_posix(), LONG_AGO)
            packed.writestr(name, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return len(files)


if __name__ == "__main__":
    run_command(package)
