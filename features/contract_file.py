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
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read as a UTF-8 text file: {error}") from None


def parse_yaml(text: str, model: type[Model], origin: str) -> Model:
    """Validate YAML text against a model; `origin` is the file name that errors carry."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ContractError(_syntax_complaint(origin, error)) from None
    if not isinstance(root, yaml.MappingNode):
        raise ContractError(f"{origin} must be a mapping of keys to values; see conf/ for an example.")
    _refuse_repeated_keys(root, origin, frozenset())
    try:
        return model.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ContractError(_syntax_complaint(origin, error)) from None
    except ValidationError as error:
        raise ContractError("; ".join(_complaint(origin, root, dict(e)) for e in error.errors())) from None


def _syntax_complaint(origin: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f" line {mark.line + 1}" if mark else ""
    return f"{origin}{line} is not YAML: {' '.join(str(getattr(error, 'problem', error)).split())}."


def _complaint(origin: str, root: yaml.Node, error: dict[str, Any]) -> str:
    line, walked = _line_of(root, error["loc"])
    key = ".".join(str(step) for step in error["loc"]) or "the file as a whole"
    given = "" if isinstance(error["input"], dict | list) or not walked else f" (found {error['input']!r})"
    # YAML reads words such as Yes, No and 1 as other things than text.
    hint = "; put it in quotes" if error["type"] == "string_type" and given else ""
    return f"{origin} line {line}: {key}: {error['msg'].removeprefix('Value error, ')}{given}{hint}"


def _line_of(node: yaml.Node, loc: tuple[str | int, ...]) -> tuple[int, bool]:
    """The line (from 1) of the deepest key or item on the way to `loc`, and whether all of `loc` was found."""
    line = int(node.start_mark.line) + 1
    for step in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = int(node.start_mark.line) + 1
        elif isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(step)), None)
            if found is None:
                return line, False
            line, node = int(found[0].start_mark.line) + 1, found[1]
        else:
            return line, False
    return line, True


def _refuse_repeated_keys(node: yaml.Node, origin: str, above: frozenset[int]) -> None:
    """Refuse keys that stand twice, are no words, or lead back to a part that holds them (`above`, by identity)."""
    where = f"{origin} line {node.start_mark.line + 1}"
    if id(node) in above:
        raise ContractError(f"{where}: this part holds itself by an alias; write it out.")
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_repeated_keys(child, origin, above)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            where = f"{origin} line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise ContractError(f"{where}: a key must be a word.")
            if key.value in seen:
                raise ContractError(f"{where}: the key {key.value!r} stands twice.")
            seen.add(key.value)
            _refuse_repeated_keys(value, origin, above)
