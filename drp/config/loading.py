"""Read a YAML configuration into `drp.config.sections.Config`, and store it in the run directory.

    config = load_config(Path("configs/demo.yaml"), overrides=["generate.sampling.n=4"])

`extends: other.yaml` (relative to the file) takes all keys from another file except those that the file itself sets, so
that an ablation lists only its differences. An unknown key is an error that names the nearest known key.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from drp.config.sections import Config
from drp.credentials import hide_credentials
from drp.errors import ConfigError, UserError
from drp.runs.jsonl import write_atomically
from drp.runs.rundir import RunDir


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file and apply overrides such as `train.epochs=1`, whose values are parsed as YAML.

    Raises ConfigError naming the place and the fix.
    """
    return build_config(_read_tree(path, []), overrides, path)


def load_stored_config(root: Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration that the last stage stored in a run directory, with `run_dir` set to `root`."""
    path = RunDir(root).config
    return build_config(_read_tree(path, []) | {"run_dir": str(root)}, overrides, path)


def build_config(tree: dict[str, Any], overrides: Iterable[str], path: Path) -> Config:
    """Apply overrides to a tree of sections and validate it. path: the file of the tree, for error messages."""
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None


@contextmanager
def storing_config(config: Config, dry_run: bool = False) -> Iterator[None]:
    """Store the configuration in the run directory when the stage in the `with` block has ended.

    A configuration that the stage refused (UserError) does not replace a stored one. Nothing is stored in a dry run, or
    if the stage made no run directory.
    """
    path, refused = RunDir(config.run_dir).config, False
    try:
        yield
    except UserError:
        refused = True
        raise
    finally:
        # With a launcher (torchrun, accelerate), only process 0 writes; the others may not know of a refusal.
        first_process = os.environ.get("RANK", "0") == "0"
        if first_process and not dry_run and config.run_dir.is_dir() and not (refused and path.exists()):
            comment = "# The configuration of the last stage that ran here; `drp report` reads it.\n"
            write_atomically(path, lambda draft: draft.write_text(comment + dump_config(config), encoding="utf-8"))


def dump_config(config: Config) -> str:
    """The configuration as YAML with all defaults, and without passwords or keys that an address may contain."""
    tree = _hide_credentials(config.model_dump(mode="json"))
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def _hide_credentials(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hide_credentials(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide_credentials(item) for item in value]
    return hide_credentials(value) if isinstance(value, str) else value


def _read_tree(path: Path, extended_by: list[Path]) -> dict[str, Any]:
    """The sections of a file, merged over those of the file that it `extends`."""
    if path.resolve() in extended_by:
        raise ConfigError(f"{path}: extends itself")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the configuration is not UTF-8 text ({error.reason})") from None
    tree = _parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as `student:`, got {type(tree).__name__}")
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    return _merge(_read_tree(path.parent / str(parent), [*extended_by, path.resolve()]), tree)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Sections are merged key by key; lists and plain values are replaced."""
    shared = [key for key in above if isinstance(below.get(key), dict) and isinstance(above[key], dict)]
    return {**below, **above, **{key: _merge(below[key], above[key]) for key in shared}}


def _apply_override(tree: dict[str, Any], override: str) -> None:
    dotted, sign, value = override.partition("=")
    if not sign or not dotted:
        raise ConfigError(f"--set {override}: expected section.key=value")
    *sections, key = dotted.split(".")
    for section in sections:
        if tree.get(section) is None:
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: `{section}` is a value and has no keys of its own")
    tree[key] = _parse_yaml(value, f"--set {dotted}")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with duplicate keys refused and `3e-5` read as a number.

    PyYAML itself silently takes the last of two equal keys, and reads YAML 1.1, in which `3e-5` is a string.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is not a string", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"duplicate key '{key}'", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.2's floats: the dot is optional before an exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _parse_yaml(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{place}{f':{mark.line + 1}' if mark else ''}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{place}: {error}") from None


def _explain(error: ValidationError, path: Path) -> str:
    return "\n".join(f"{path}: {_explain_one(dict(detail))}" for detail in error.errors(include_url=False))


def _explain_one(detail: dict[str, Any]) -> str:
    location = detail["loc"]
    place = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        return f"unknown key `{place}`{_suggest(location)}"
    if detail["type"] == "missing":
        return f"`{place}` is missing"
    message = detail["msg"].removeprefix("Value error, ")
    got = detail.get("input")
    # For the check of a whole section the input is the section, which is long and may contain a key; it is not shown.
    shown = f", got {got!r}" if isinstance(got, str | int | float | bool) or got is None else ""
    return f"`{place}`: {message}{shown}" if place else message


def _suggest(location: tuple[Any, ...]) -> str:
    known = _keys_at(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    model: Any = Config
    for part in location:
        if isinstance(part, str) and _is_model(model) and part in model.model_fields:
            model = _section_of(model.model_fields[part].annotation)
        elif not isinstance(part, int) and _is_model(model):
            return []
    return list(model.model_fields) if _is_model(model) else []


def _section_of(annotation: Any) -> Any:
    """The section inside `Section`, `list[Section]`, `dict[str, Section]` or `Section | None`."""
    if _is_model(annotation):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_of(part)) is not None), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
