"""README and docs: links that lead somewhere, and commands that are taken as they are printed."""

import re
import shlex
from pathlib import Path

import pytest

from pipelines.settings import ROOT
from tests.commands import command_of

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
STARTS = ("mlflow run . -e ", "python -m pipelines.")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {"#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> list[str]:
    """The commands of a page's indented blocks that run an entry point by name."""
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(STARTS) and " ENTRY " not in line]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_of_a_page_leads_somewhere(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}{anchor}"


@pytest.mark.parametrize("line", [line for page in PAGES for line in commands(page)])
def test_a_printed_command_is_taken_without_conda(line):
    words = shlex.split(line, comments=True)
    if line.startswith("python"):
        entry, given = words[2].removeprefix("pipelines."), words[3:]
    else:
        assert words[-2:] == ["--env-manager", "local"]
        entry, pairs = words[4], [word.split("=", 1) for word in words[6:-2:2]]
        given = [word for name, value in pairs for word in (f"--{name.replace('_', '-')}", value)]
    assert command_of(entry).make_context(entry, given).params  # it raises where an argument is refused
