"""Imports go one way, and the command line is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "drp"

# From the bottom up: a module may import from its own layer's folder and from layers before its own.
LAYERS = [
    {"errors", "records"},
    {"settings", "artifacts", "progress", "rundir"},
    {"config", "manifest", "traces", "concurrency", "answers"},
    {"tally", "grading", "prompts", "statistics"},
    {"stage"},
    {"rows", "samplers", "chat", "training", "scores"},
    {"problems", "teachers"},
    {"rollouts", "reporting"},
    {"viewer", "doctor", "estimation"},
    {"stages"},
    {"cli"},
    {"__main__"},
]
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "vllm",
    "datasets",
    "openai",
    "google.generativeai",
    "matplotlib",
    "scipy",
    "math_verify",
}


def layer_of(module: str) -> int:
    [level] = [number for number, names in enumerate(LAYERS) if module in names] or [-1]
    return level


def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert layer_of(own) >= 0, f"{own} has no layer: give it one here"
    for name in imports_of(path):
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if package == "drp" and target not in ("", own, "__version__"):
            assert layer_of(target) < layer_of(own), f"{path.name} imports {name}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_needed(path: Path) -> None:
    names = imports_of(path, top_level_only=True)
    heavy = {name for name in names if any(f"{name}.".startswith(f"{package}.") for package in HEAVY)}
    assert not heavy or path.parent.name == "training", f"{path.name} imports {heavy} at its top"


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, drp.cli\n"
        "try: drp.cli.app(['generate', '--help'])\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "--overwrite" in done.stdout
