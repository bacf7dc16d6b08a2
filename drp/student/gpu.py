"""The NVIDIA GPUs of this machine, as their driver reports them, and whether the installed torch can use them.

To torch, a GPU whose driver is older than torch's CUDA is no GPU at all: a large model would be trained on the CPU.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from drp.errors import UserError, first_line
from drp.runs.progress import say

NVIDIA_SMI = shutil.which("nvidia-smi") or "/usr/lib/wsl/lib/nvidia-smi"
TIMEOUT_S = 30.0
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Major version of CUDA -> of the oldest driver that runs it
(https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    name: str
    driver: str
    """Version of the driver, such as `535.104.05`."""
    capability: str | None = None
    """Compute capability, such as `9.0`; None if the driver does not say."""

    def __str__(self) -> str:
        capability = f"compute capability {self.capability}, " if self.capability else ""
        return f"{self.name} ({capability}driver {self.driver})"


def find_gpus() -> list[Gpu]:
    """The GPUs that the driver reports, whether torch can use them or not; none if CUDA_VISIBLE_DEVICES hides all."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1", "NoDevFiles"):
        return []
    return _ask_nvidia_smi() or _read_driver_files(Path("/"))


def _ask_nvidia_smi() -> list[Gpu]:
    command = [NVIDIA_SMI, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.rsplit(",", 2)] for line in answer.splitlines()]
    return [Gpu(name, driver, capability) for name, driver, capability in (row for row in rows if len(row) == 3)]


def _read_driver_files(root: Path) -> list[Gpu]:
    """Without nvidia-smi: from the files of the kernel's driver. A container sees them without having the GPUs, which
    are devices."""
    if not list(root.glob("dev/nvidia[0-9]*")):
        return []
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", (root / "proc/driver/nvidia/version").read_text())
        files = sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
        names = [re.search(r"^Model:\s*(.*\S)", file.read_text(), re.M) for file in files]
    except OSError:
        return []
    driver = found[1] if found else "unknown"
    return [Gpu(name[1] if name else "NVIDIA GPU", driver) for name in names]


def require_usable_gpu(*, start_cuda: bool) -> None:
    """Raises UserError, with the driver's version and torch's, if the machine has a GPU that torch cannot use. A torch
    built for CPUs is the user's choice: it is said once on stderr.

    start_cuda: compute something on the GPU, in this process, which must then not fork. If False, versions are
        compared.
    """
    if not (gpus := find_gpus()):
        return
    import torch

    if torch.version.cuda is None:
        if torch.version.hip is None:
            _say_once(
                f"{gpus[0]} is not used: torch {torch.__version__} is a build for CPUs; `make install-gpu` makes an "
                "environment for GPUs"
            )
        return
    if problem := find_problem(gpus[0], torch.version.cuda, start_cuda=start_cuda):
        raise UserError(
            f"torch {torch.__version__}, built with CUDA {torch.version.cuda}, cannot use {gpus[0]}: {problem}; to "
            "compute on the CPU on purpose, start it with CUDA_VISIBLE_DEVICES= (empty)"
        )


def find_problem(gpu: Gpu, cuda: str, *, start_cuda: bool) -> str:
    """What keeps torch, built with this version of CUDA, from computing on the GPU, and what helps; empty if it can.

    start_cuda: as for `require_usable_gpu`.
    """
    oldest = OLDEST_DRIVER.get(int(cuda.partition(".")[0]), 0)
    major = gpu.driver.partition(".")[0]
    too_old = major.isdigit() and int(major) < oldest
    if not start_cuda and not too_old:
        return ""
    # Even with an old driver: NVIDIA's compatibility packages let it run a newer CUDA.
    problem = _try_cuda() if start_cuda else _try_cuda_in_child()
    if problem and too_old:
        problem += f"; update the driver to {oldest} or newer, or install a torch that was built with an older CUDA"
    return problem


def _try_cuda() -> str:
    import torch

    try:
        torch.zeros(1, device="cuda").add(1).item()
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return ""


def _try_cuda_in_child() -> str:
    program = "from drp.student.gpu import _try_cuda; print(_try_cuda())"
    tried = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return tried.stdout.strip() if tried.returncode == 0 else f"a trial ended with status {tried.returncode}"


@cache
def _say_once(text: str) -> None:
    say(text)
