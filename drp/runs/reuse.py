"""Copy a finished artifact of another run directory (`reuse` in the configuration) instead of making it again.

    runs/main/traces.jsonl          complete, same fingerprint, same input
      -> runs/ablation/traces.jsonl with its manifest and its failures

The stage then runs as always: it resumes from the copy, in which usually nothing is missing. An artifact that this run
directory made or continued itself is not replaced; one that is a copy follows the other one when that has grown.
"""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from drp.errors import InputError
from drp.runs.jsonl import write_atomically
from drp.runs.manifest import InputDigest, compare_with, load_manifest
from drp.runs.rundir import failures_path, manifest_path


def find_copy(twin: Path, target: Path, fingerprint: dict[str, Any], inputs: Sequence[Path]) -> bool:
    """Whether `twin`, the artifact of the other run directory, is what `target` would become, as far as it goes.

    Raises InputError if it is, but is not complete yet and `target` does not exist.
    """
    manifest = load_manifest(twin)
    if manifest is None or not twin.exists():
        return False
    digests, changes = compare_with(manifest, fingerprint, inputs)
    if changes or digests.keys() != manifest.inputs.keys():
        return False
    n_bytes = target.stat().st_size if target.exists() else 0
    if manifest.state != "complete":
        if n_bytes == 0:
            raise InputError(
                f"{target}: `reuse` names a run whose {twin} is not complete (its stage `{manifest.stage}` is "
                f"{manifest.state}); finish that run first, or set `reuse` to null"
            )
        return False
    if not target.exists():
        return True
    digest = InputDigest.of(twin, n_bytes)
    return digest.n_bytes > n_bytes and digest.prefix_sha256 == InputDigest.of(target).sha256


def copy_artifact(twin: Path, target: Path) -> None:
    """Copy an artifact with its manifest and its failures.

    The artifact itself comes last: a run that is killed before that copies all of them again.
    """
    for path in (manifest_path, failures_path, Path):
        if path(twin).exists():
            write_atomically(path(target), partial(shutil.copyfile, path(twin)))
