"""The sampler that the configuration asks for."""

from typing import Literal

from drp.errors import ConfigError, MissingExtra
from drp.samplers.base import Sampler
from drp.samplers.installation import BREAKING_PACKAGES, has_vllm, require_vllm, set_environment
from drp.settings import EngineSettings, SamplingSettings
from drp.traces import Tokenizer, load_tokenizer


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
        from drp.samplers.server import ServerSampler

        if adapter:
            raise ConfigError(
                "eval.models: a server wears its own adapters; name there, as `model`, what it calls this one"
            )
        tokenizer = tokenizer or load_tokenizer(model, revision, trust_remote_code)
        return ServerSampler(model, engine, sampling, tokenizer)

    from drp.samplers.models import read_model_config, read_rank

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
        from drp.samplers.vllm import VllmSampler

        return VllmSampler(model, engine, sampling, seed, tokenizer, config, revision, trust_remote_code, adapter)
    from drp.samplers.transformers import TransformersSampler

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
