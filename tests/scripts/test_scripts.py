"""Every script starts: what it imports from the package exists."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "scripts").rglob("*.py"))
COMMANDS = [path for path in SCRIPTS if "ArgumentParser(" in path.read_text()]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_script_says_how_it_is_used(path: Path) -> None:
    done = subprocess.run([sys.executable, path, "--help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
