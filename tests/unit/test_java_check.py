""".ci/check-java: which Java it takes, and what it says where there is none that Spark runs on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / ".ci" / "check-java"

JAVA = """\
#!{bash}
if [ "$1" = --add-modules ]; then exit {module_exit}; fi
echo '{said}' >&2
exit {start_exit}
"""


class Machine:
    """A machine with nothing but bash on its PATH, to which a test adds what it needs."""

    def __init__(self, folder: Path) -> None:
        self.bash = shutil.which("bash")
        self.folder = folder
        self.path = folder / "bin"
        self.env: dict[str, str] = {}
        self.command("uname", "echo Linux")

    def command(self, name: str, script: str, folder: Path | None = None) -> None:
        target = (folder or self.path) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(script if script.startswith("#!") else f"#!{self.bash}\n{script}\n", encoding="utf-8")
        target.chmod(0o755)

    def java(self, said: str, folder: Path | None = None, module_exit: int = 0, start_exit: int = 0) -> None:
        script = JAVA.format(bash=self.bash, said=said, module_exit=module_exit, start_exit=start_exit)
        self.command("java", script, folder)

    def home(self, said: str) -> Path:
        self.java(said, self.folder / "jdk" / "bin")
        self.env["JAVA_HOME"] = str(self.folder / "jdk")
        return self.folder / "jdk" / "bin" / "java"

    def check(self) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.path), **self.env}
        return subprocess.run([self.bash, CHECK], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("version", ["17.0.15", "17", "21.0.4"])
def test_java_17_and_21_pass(machine, version):
    machine.java(f'openjdk version "{version}" 2025-04-15')
    assert machine.check().returncode == 0


@pytest.mark.parametrize(("version", "major"), [("1.8.0_412", "8"), ("11.0.2", "11"), ("25", "25")])
def test_another_major_version_ends_with_2_and_is_named(machine, version, major):
    machine.java(f'openjdk version "{version}"')
    result = machine.check()
    assert (result.returncode, f"is Java {major};" in result.stderr) == (2, True)


def test_no_java_at_all_ends_with_2_and_one_line(machine):
    result = machine.check()
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_java_home_wins_over_the_path(machine):
    machine.java('openjdk version "11.0.2"')
    java = machine.home('openjdk version "17.0.15"')
    assert machine.check().stdout == f"Java 17: {java}\n"


def test_a_wrong_java_home_is_refused_even_with_java_17_on_the_path(machine):
    machine.java('openjdk version "17.0.15"')
    machine.home('openjdk version "11.0.2"')
    assert machine.check().returncode == 2


def test_a_java_home_without_java_is_named(machine):
    machine.java('openjdk version "17.0.15"')
    machine.env["JAVA_HOME"] = os.fspath(machine.folder / "gone")
    assert f"JAVA_HOME={machine.folder / 'gone'} holds no bin/java" in machine.check().stderr


def test_a_stub_that_finds_no_runtime_is_refused(machine):
    machine.java("Unable to locate a Java Runtime.", start_exit=1)
    assert machine.check().returncode == 2


def test_a_runtime_without_the_vector_module_is_refused(machine):
    machine.java('openjdk version "17.0.15"', module_exit=1)
    assert "lacks the module jdk.incubator.vector" in machine.check().stderr


def test_notes_before_the_version_do_not_hide_it(machine):
    machine.java('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "17.0.15"')
    assert machine.check().returncode == 0


def test_debian_is_told_of_apt(machine):
    machine.command("apt-get", "true")
    assert machine.check().stderr.endswith("; run: sudo apt-get install openjdk-17-jre-headless\n")


def test_macos_is_told_of_brew_and_java_home(machine):
    machine.command("uname", "echo Darwin")
    expected = '; run: brew install openjdk@17 && export JAVA_HOME="$(brew --prefix openjdk@17)"\n'
    assert machine.check().stderr.endswith(expected)


def test_an_active_conda_environment_is_told_of_conda(machine):
    machine.env["CONDA_PREFIX"] = "anywhere"
    assert machine.check().stderr.endswith("; run: conda install -c conda-forge openjdk=17\n")
