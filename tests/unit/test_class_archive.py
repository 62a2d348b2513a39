"""The archive of Spark's classes: named after what it fits, passed over elsewhere, whole or not at all."""

import subprocess

import pytest

from pipelines import class_archive as module
from pipelines.class_archive import NoArchive, archive_of, archive_options, class_archive

JAVA = 'openjdk version "17.0.15" 2025-04-15'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path / "a folder")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr("pipelines.session.check_java", lambda: JAVA)
    (tmp_path / "a folder").mkdir()
    return tmp_path / "a folder"


def maker(returncode: int, content: bytes = b""):
    """Stands for the process that loads the classes."""

    def run(command, **_):
        if content:
            with open(command[-1], "wb") as file:
                file.write(content)
        return subprocess.CompletedProcess(command, returncode, "", "Java is out of memory")

    return run


def test_java_gets_no_option_where_there_is_no_archive():
    assert archive_options(JAVA) == ""


def test_java_gets_the_archive_in_quotes_as_its_folder_may_have_blanks(folder):
    archive_of(JAVA).write_bytes(b"classes")
    assert f'"-XX:SharedArchiveFile={folder}/' in archive_options(JAVA)


def test_another_java_and_another_spark_get_none(monkeypatch):
    archive_of(JAVA).write_bytes(b"classes")
    assert archive_options(JAVA.replace("15", "16")) == ""
    monkeypatch.setattr("pyspark.__file__", "/elsewhere/pyspark/__init__.py")
    assert archive_options(JAVA) == ""


def test_a_new_archive_takes_the_place_of_old_ones(folder, monkeypatch):
    (folder / "old.jsa").write_bytes(b"old")
    monkeypatch.setattr(subprocess, "run", maker(0, b"new"))
    class_archive(None)
    assert [path.read_bytes() for path in folder.iterdir()] == [b"new"]


def test_an_archive_that_fits_is_left_alone(monkeypatch, capsys):
    archive_of(JAVA).write_bytes(b"classes")
    monkeypatch.setattr(subprocess, "run", maker(1))
    class_archive(None)
    assert "are archived" in capsys.readouterr().out


@pytest.mark.parametrize(("returncode", "content"), [(1, b"half"), (0, b"")])
def test_a_failure_says_why_and_leaves_what_was_there(folder, monkeypatch, returncode, content):
    (folder / "old.jsa").write_bytes(b"old")
    monkeypatch.setattr(subprocess, "run", maker(returncode, content))
    with pytest.raises(NoArchive, match="Java is out of memory"):
        class_archive(None)
    assert [path.name for path in folder.iterdir()] == ["old.jsa"]
