"""requirements.lock and conda.yaml: one list of packages, every file hashed, no address of a machine or registry."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def _entries(lock: str) -> list[list[str]]:
    """Each package of a lock as its logical line, split at the continuation marks."""
    lines = re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE).replace("\\\n", "\0").splitlines()
    return [[part.strip() for part in line.split("\0")] for line in lines if line.strip()]


def _normal(text: str) -> str:
    requirement = Requirement(text)
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    return f"{name}{requirement.specifier} ; {requirement.marker}"


@pytest.fixture(scope="module")
def locked() -> list[list[str]]:
    return _entries((ROOT / "requirements.lock").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))


def test_the_lock_names_one_exact_version_of_each_package(locked):
    pins = [str(Requirement(entry[0]).specifier) for entry in locked]
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"==[^,*]+", pin)] == []


def test_every_locked_package_has_a_sha256_hash(locked):
    bare = [name for name, *hashes in locked if not hashes]
    odd = [h for _, *hashes in locked for h in hashes if not re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h)]
    assert (bare, odd) == ([], [])


def test_conda_lists_the_same_packages_and_versions_as_the_lock(locked, conda):
    [pip] = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert [_normal(pin) for pin in pip] == [_normal(entry[0]) for entry in locked]


def test_conda_brings_python_3_11_and_java_17(conda):
    assert {"python=3.11", "openjdk=17"} <= {entry for entry in conda["dependencies"] if isinstance(entry, str)}


def test_every_direct_requirement_is_locked_at_a_version_it_allows(locked):
    versions = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in (Requirement(entry[0]) for entry in locked)
    }
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    direct = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    refused = [r.name for r in direct if not r.specifier.contains(versions.get(r.name.lower(), ""), prereleases=True)]
    assert refused == []


@pytest.mark.parametrize("name", ["requirements.in", "requirements.lock", "conda.yaml"])
def test_no_address_or_absolute_path_is_in(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r".*(?:://|--index|--extra-index|--find-links|--trusted-host|(?<![\w.])/\w).*", text) == []
