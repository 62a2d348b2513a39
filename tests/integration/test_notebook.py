"""The notebook runs from top to bottom, and is committed without any lead in it."""

import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from features.sample import load_profile, write_sample
from pipelines.settings import ROOT

NOTEBOOK = ROOT / "notebooks" / "exploration.ipynb"


class ThisInterpreter(AsyncKernelManager):
    """A kernel of the interpreter that runs the tests, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


def test_the_notebook_is_committed_without_outputs():
    cells = [c for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code"]
    assert all(not c.outputs and c.execution_count is None for c in cells)


def test_the_notebook_shows_its_pictures_of_sample_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    csv = write_sample(tmp_path / "leads.csv", load_profile(ROOT / "conf" / "sample_profile.json"), n=600)
    monkeypatch.setenv("EXPLORE_CSV", str(csv))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    manager = ThisInterpreter()
    client = NotebookClient(notebook, km=manager, timeout=300, resources={"metadata": {"path": str(ROOT)}})
    client.execute(cleanup_kc=True)  # a manager that was handed in is not ended otherwise
    shown = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(shown) == 5
