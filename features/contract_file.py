"""Reading a contract from YAML: syntax errors, repeated keys and refused values are reported with their line."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from features.contract import Contract
from features.errors import FeaturesError

Model = TypeVar("Model", bound=BaseModel)


class ContractError(FeaturesError):
    """A YAML file of the project's is missing, is not YAML, or says what its model refuses."""


def load_contract(path: Path) -> Contract:
    """Read a lead contract; ContractError names the file, the line and the key at fault."""
    return load_yaml(path, Contract)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a pydantic model, with line numbers in every complaint."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), model, path.name)
    except FileNotFoundError:
        raise ContractError(f"{path} does not exist; name a {model.__name__} file that does.") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read as a UTF-8 text file: {error}") from None


def parse_yaml(text: str, model: type[Model], origin: str) -> Model:
    """Validate YAML text against a model; `origin` is the file name that errors carry."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ContractError(f"{origin}{line} is not YAML: {getattr(error, 'problem', error)}.") from None
    if not isinstance(root, yaml.MappingNode):
        raise ContractError(f"{origin} must be a mapping of keys to values; see conf/ for an example.")
    _refuse_repeated_keys(root, origin)
    try:
        return model.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise ContractError("; ".join(_complaint(origin, root, dict(e)) for e in error.errors())) from None


def _complaint(origin: str, root: yaml.Node, error: dict[str, Any]) -> str:
    node, walked = _walk(root, error["loc"])
    key = ".".join(str(step) for step in error["loc"]) or "the file as a whole"
    given = "" if isinstance(error["input"], dict | list) or not walked else f" (found {error['input']!r})"
    return f"{origin} line {node.start_mark.line + 1}: {key}: {error['msg'].removeprefix('Value error, ')}{given}"


def _walk(node: yaml.Node, loc: tuple[Any, ...]) -> tuple[yaml.Node, bool]:
    """The deepest node on the way to `loc`, and whether all of `loc` was found."""
    for step in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            found = next((value for key, value in node.value if key.value == str(step)), None)
            if found is None:
                return node, False
            node = found
        else:
            return node, False
    return node, True


def _refuse_repeated_keys(node: yaml.Node, origin: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_repeated_keys(child, origin)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ContractError(f"{origin} line {key.start_mark.line + 1}: the key {key.value!r} stands twice.")
            seen.add(key.value)
            _refuse_repeated_keys(value, origin)
