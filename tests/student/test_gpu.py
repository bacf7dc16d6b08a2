"""A GPU that torch cannot use is refused; machines without one, and builds of torch for CPUs, are left alone."""

from pathlib import Path

import pytest

from drp.errors import UserError
from drp.student import gpu

OLD = gpu.Gpu("NVIDIA A100-SXM4-80GB", "535.104.05", "8.0")
NEW = gpu.Gpu("NVIDIA H100, 80GB", "580.65.06", "9.0")


@pytest.fixture
def _built_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", "13.0")


def install_driver(monkeypatch: pytest.MonkeyPatch, folder: Path, *gpus: gpu.Gpu) -> None:
    """Put an `nvidia-smi` in place that reports `gpus`; without any it fails, as where the driver does not run."""
    rows = "".join(f"{one.name}, {one.driver}, {one.capability}\n" for one in gpus)
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\nprintf '{rows}'\nexit {0 if gpus else 9}\n")
    script.chmod(0o755)
    monkeypatch.setattr(gpu, "NVIDIA_SMI", str(script))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_driver_is_asked_for_its_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_driver(monkeypatch, tmp_path, OLD, NEW)
    assert gpu.find_gpus() == [OLD, NEW]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert gpu.find_gpus() == []
    install_driver(monkeypatch, tmp_path)
    assert gpu.find_gpus() == []


def test_without_nvidia_smi_the_drivers_files_are_read_if_the_devices_are_there(tmp_path: Path) -> None:
    information = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t\t NVIDIA L4\nIRQ:   \t\t 88\n")
    (tmp_path / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\n"
    )
    assert gpu._read_driver_files(tmp_path) == []
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert gpu._read_driver_files(tmp_path) == [gpu.Gpu("NVIDIA L4", "550.54.14")]
    version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
    (tmp_path / "proc/driver/nvidia/version").write_text(version)
    assert gpu._read_driver_files(tmp_path) == [gpu.Gpu("NVIDIA L4", "535.104.05")]


@pytest.mark.usefixtures("_built_with_cuda")
@pytest.mark.parametrize("start_cuda", [True, False])
def test_a_driver_older_than_torchs_cuda_is_refused_with_both_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start_cuda: bool
) -> None:
    install_driver(monkeypatch, tmp_path, OLD)
    with pytest.raises(UserError, match=r"CUDA 13\.0.*driver 535\.104\.05.*update the driver to 580") as caught:
        gpu.require_usable_gpu(start_cuda=start_cuda)
    assert "CUDA_VISIBLE_DEVICES=" in str(caught.value)


@pytest.mark.usefixtures("_built_with_cuda")
def test_a_new_driver_is_only_refused_where_torch_tried_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_driver(monkeypatch, tmp_path, NEW)
    gpu.require_usable_gpu(start_cuda=False)
    with pytest.raises(UserError, match="cannot use NVIDIA H100, 80GB") as caught:
        gpu.require_usable_gpu(start_cuda=True)
    assert "update the driver" not in str(caught.value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpu.require_usable_gpu(start_cuda=True)


def test_a_torch_for_cpus_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.version.cuda", None)
    install_driver(monkeypatch, tmp_path, OLD)
    gpu._say_once.cache_clear()
    for _ in range(2):
        gpu.require_usable_gpu(start_cuda=True)
    assert capsys.readouterr().err.count("is a build for CPUs") == 1
