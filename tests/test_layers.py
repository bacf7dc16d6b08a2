"""Imports go one way, and the command line is light."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "drp"

# The rooms of `drp/` from the bottom up: a module imports from its own room and from rooms before it.
ROOMS = (
    *(
        "credentials",
        "errors",
        "records",
        "runs",
        "config",
        "chat",
        "grading",
        "problems",
        "evaluation",
        "student",
        "report",
        "training",
    ),
    *("teachers", "doctor", "estimate", "stages", "cli", "__main__"),
)
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


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_go_downwards() -> None:
    for path in MODULES:
        allowed = {"__version__", *ROOMS[: ROOMS.index(room_of(path)) + 1]}
        targets = {name.split(".")[1] for name in imports_of(path) if name.startswith("drp.")}
        assert targets <= allowed, f"{path.relative_to(PACKAGE)} imports from rooms above its own: {targets - allowed}"


def test_heavy_packages_are_imported_where_they_are_needed() -> None:
    for path in MODULES:
        names = imports_of(path, top_level_only=True)
        heavy = {name for name in names if any(f"{name}.".startswith(f"{package}.") for package in HEAVY)}
        assert room_of(path) == "training" or not heavy, f"{path} imports {heavy} at its top"


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
