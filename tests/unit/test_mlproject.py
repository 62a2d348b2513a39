"""MLproject and the modules behind it: the same parameters with the same defaults."""

import importlib
import inspect
import re

import pytest

from tests.commands import ENTRIES, command_of

NAMED = sorted(set(ENTRIES) - {"main"})


def options(entry):
    """The command's options by name: what `python -m pipelines.ENTRY --help` lists."""
    return {p.name: p for p in command_of(entry).params}


@pytest.mark.parametrize("entry", NAMED)
def test_an_entry_point_passes_on_every_parameter_of_its_command(entry):
    assert set(ENTRIES[entry].get("parameters", {})) == set(options(entry))


@pytest.mark.parametrize("entry", NAMED)
def test_an_entry_points_command_names_each_parameter_once(entry):
    passed = re.findall(r"--([a-z-]+) \{(\w+)\}", ENTRIES[entry]["command"])
    assert sorted(name for _, name in passed) == sorted(ENTRIES[entry].get("parameters", {}))
    assert all(flag == name.replace("_", "-") for flag, name in passed)


@pytest.mark.parametrize("entry", NAMED)
def test_defaults_are_those_of_the_command(entry):
    function = getattr(importlib.import_module(f"pipelines.{entry}"), entry)
    for name, parameter in ENTRIES[entry].get("parameters", {}).items():
        default = inspect.signature(function).parameters[name].default
        given = str(parameter["default"])
        assert given in (str(default), str(getattr(default, "value", default))) or str(default).endswith(f"/{given}")
