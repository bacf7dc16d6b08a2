from pathlib import Path

import pytest

from drp.runs.stage import RunOptions
from drp.stages import report
from tests.report.run_fixture import build_run, make_config


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Tests must not write to it."""
    return build_run(tmp_path_factory.mktemp("fixture") / "demo")


@pytest.fixture(scope="session")
def html(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.run(make_config(run_dir), RunOptions(output=tmp_path_factory.mktemp("report")))


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the drawing of figures, which takes most of a report's time."""
    monkeypatch.setattr(report, "figures_of", lambda *_: {})
