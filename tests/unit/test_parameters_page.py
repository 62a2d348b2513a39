"""docs/parameters.md: what the commands and settings say of themselves."""

import runpy

from pipelines.settings import ROOT


def test_the_page_of_parameters_is_what_the_commands_say():
    written = runpy.run_path(str(ROOT / ".ci" / "write_parameters.py"))["page"]()
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert page == written, "run make parameters"
