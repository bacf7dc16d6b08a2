from pathlib import Path

import pytest

from tests.reporting.run_fixture import build_run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read-only for its users, reports go elsewhere."""
    return build_run(tmp_path_factory.mktemp("fixture") / "demo")
