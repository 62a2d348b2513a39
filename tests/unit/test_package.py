"""The zip of --py-files: the same bytes for the same code, and all that the code needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

from pipelines.compiled import carried_code
from pipelines.package import write_package
from pipelines.settings import ROOT

FROM_THE_ZIP = """
from pipelines.settings import CODE, HOME, ROOT, Settings
print(CODE.name, HOME, Settings().contract().name, (ROOT / "conf" / "gate.yaml").exists())
"""


def test_the_same_code_gives_the_same_bytes(tmp_path):
    write_package(tmp_path / "a.zip")
    write_package(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_it_holds_the_rooms_and_their_configuration_alone(tmp_path):
    write_package(tmp_path / "a.zip")
    names = zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert {name.split("/")[0] for name in names} == {"features", "evaluation", "serving", "pipelines", "conf"}
    assert {"pipelines/score.py", "conf/leads.yaml"} <= set(names)


PAGES_AND_CODE = """
import sys
from pathlib import Path
from evaluation import document, html
from pipelines.compiled import carried_code
print(document._HTML.get_template("document.html.j2").name, html._TEMPLATES.get_template("page.html.jinja").name)
carried_code(Path(sys.argv[1]))
"""


def test_code_in_the_zip_finds_its_pages_and_the_code_that_a_compiled_model_carries(tmp_path):
    write_package(tmp_path / "a.zip")
    here, away = tmp_path / "here", tmp_path / "away"
    carried_code(here)
    command = [sys.executable, "-c", PAGES_AND_CODE, str(away)]
    said = subprocess.check_output(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "a.zip")}, text=True)
    assert said.split() == ["document.html.j2", "page.html.jinja"]
    assert contents(away) == contents(here)


def contents(folder: Path) -> dict[str, str]:
    """The texts of the files under a folder, by path."""
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*.py")}


def test_code_in_the_zip_finds_its_configuration(tmp_path, contract):
    write_package(tmp_path / "a.zip")
    env = {"PYTHONPATH": str(tmp_path / "a.zip")}
    command = [sys.executable, "-c", FROM_THE_ZIP]
    said = subprocess.check_output(command, cwd=tmp_path, env=env, text=True)
    assert said.split() == ["a.zip", str(tmp_path), contract.name, "True"]
    assert str(ROOT) not in said
