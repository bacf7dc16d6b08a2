"""The backend `vllm`: vLLM's engine, fed continuously.

Requests are added as slots become free, and each response is returned as it finishes, so that a crash loses only what
was in flight and no slot waits for the slowest response of a batch.

The engine runs in this process. By default vLLM starts it in a process of its own, which survives when its parent is
killed and keeps its cores and GPU memory. On a CPU that process also takes four times as long to start and is bound to
a single core. VLLM_ENABLE_V1_MULTIPROCESSING=1 in the environment restores vLLM's default.
"""

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import InputError, UserError
from drp.student.base import (
    GeneratedTokens,
    LocalSampler,
    Rejection,
    SamplingRequest,
    find_advice,
    limit_response,
    limit_threads,
    read_rank,
    reseed,
)
from drp.student.response import ChatFormat

GIB = 1 << 30
LORA_RANKS = (8, 16, 32, 64, 128, 256, 512)
"""The values that vLLM's max_lora_rank may have."""
MIN_FINISHED = 64
FIRST_GUESS = 4096
"""See FinishedLengths."""
FIT_MEMORY = -1
"""A max_model_len with which vLLM takes the model's own limit, or what the key-value cache holds if that is less."""


class VllmSampler(LocalSampler):
    """A student in vLLM. There can be only one at a time in a process.

    config: transformers' configuration of the model, as `read_model_config` returns it.

    Raises InputError if vLLM cannot load the model, UserError if the key-value cache cannot hold one response.
    """

    def __init__(
        self,
        *,
        model: str,
        engine: EngineSettings,
        sampling: SamplingSettings,
        seed: int,
        format: ChatFormat,
        config: Any,
        revision: str | None = None,
        trust_remote_code: bool = False,
        adapter: str | None = None,
    ) -> None:
        super().__init__(format)
        self._sampling, self._seed, self._adapter = sampling, seed, adapter
        self._restore_threads: Callable[[], None] = lambda: None
        self._on_cpu = _runs_on_cpu()
        self._in_process = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "0") == "0"
        if self._on_cpu:
            self._restore_threads = limit_threads(_count_parameters(model))
        arguments = _engine_arguments(engine, on_cpu=self._on_cpu)
        arguments |= {"model": model, "seed": seed, "revision": revision, "tokenizer_revision": revision}
        arguments |= {"trust_remote_code": trust_remote_code}
        if adapter:
            max_rank = min((rank for rank in LORA_RANKS if rank >= read_rank(adapter)), default=LORA_RANKS[-1])
            arguments |= {"enable_lora": True, "max_lora_rank": max_rank}
        try:
            self._engine: Any = self._start(arguments, config)
            self.max_model_len: int = self._engine.model_config.max_model_len
            if engine.max_model_len is None:
                key = "engine.cpu_kvcache_gib" if self._on_cpu else "engine.gpu_memory_utilization"
                own_limit = getattr(config, "max_position_embeddings", None)
                check_cache_size(self.max_model_len, own_limit, sampling.max_new_tokens, key)
        except BaseException:
            self.close()
            raise
        # Some requests wait inside the engine, so that a free slot is filled in the same step.
        self._capacity = engine.max_num_seqs + max(1, engine.max_num_seqs // 8)
        self._cache_tokens = _count_cache_tokens(self._engine.vllm_config.cache_config)
        self._finished = FinishedLengths()

    def sample_tokens(self, requests: Iterator[SamplingRequest]) -> Iterator[GeneratedTokens | Rejection]:
        """Sample one response for each request, in the order in which they finish.

        If the iteration is left early, the requests in flight are aborted; the sampler can be used again.
        """
        in_flight: dict[str, SamplingRequest] = {}
        serial = 0
        exhausted = False
        try:
            while in_flight or not exhausted:
                while not exhausted and len(in_flight) < self._limit_in_flight():
                    request = next(requests, None)
                    if request is None:
                        exhausted = True
                        break
                    if serial == 0:
                        reseed(self._seed, request)  # an engine in another process keeps the seed it started with
                    serial += 1
                    rejection = self._add(str(serial), request)
                    if rejection:
                        yield rejection
                    else:
                        in_flight[str(serial)] = request
                if in_flight:
                    yield from self._step(in_flight)
        finally:
            if in_flight and self._engine is not None:
                self._engine.abort_request(list(in_flight))

    def close(self) -> None:
        """Stop the engine, free its memory and processes, and restore torch's threads. A second call does nothing."""
        engine, self._engine = getattr(self, "_engine", None), None
        if engine is not None:
            engine.engine_core.shutdown()
            del engine
            _forget_compiled_models()
            gc.collect()
            if not self._on_cpu:
                import torch

                torch.cuda.empty_cache()
        self._restore_threads()

    def _start(self, arguments: dict[str, Any], config: Any) -> Any:
        with _quiet(), _environment("VLLM_ENABLE_V1_MULTIPROCESSING", "0" if self._in_process else "1"):
            from vllm import EngineArgs, LLMEngine

            if self._on_cpu:
                _inspect_in_process(getattr(config, "architectures", None) or [])
            try:
                return LLMEngine.from_engine_args(EngineArgs(**arguments))
            except (ValueError, RuntimeError, OSError) as error:
                _forget_failed_start()
                advice = find_advice(error)
                hint = f". {advice[0].upper()}{advice[1:]}" if advice else ""
                raise InputError(f"vLLM cannot start {arguments['model']!r}: {_explain(error)}{hint}") from error

    def _limit_in_flight(self) -> int:
        """How many requests the engine may have. More than the key-value cache holds would make vLLM interrupt
        responses and compute them again."""
        if self._cache_tokens is None:
            return self._capacity
        fitting = self._cache_tokens / self._finished.estimate_held(self._sampling.max_new_tokens)
        return max(1, min(self._capacity, int(fitting)))

    def _add(self, serial: str, request: SamplingRequest) -> Rejection | None:
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind

        limit = limit_response(request, self._sampling.max_new_tokens, self.max_model_len)
        if isinstance(limit, Rejection):
            return limit
        # No stop strings, because they would match inside the thinking. No seed, because vLLM on a CPU crashes on it.
        parameters = SamplingParams(
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            max_tokens=limit,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            lora = LoRARequest("adapter", 1, self._adapter) if self._adapter else None
            self._engine.add_request(serial, {"prompt_token_ids": request.prompt_ids}, parameters, lora_request=lora)
        except _request_errors() as error:
            return Rejection(request.id, f"vLLM refuses the request: {_explain(error)}")
        return None

    def _step(self, in_flight: dict[str, SamplingRequest]) -> Iterator[GeneratedTokens]:
        for output in self._engine.step():
            request = in_flight.pop(output.request_id)
            drawn = output.outputs[0]
            self._finished.add(len(request.prompt_ids) + len(drawn.token_ids))
            yield GeneratedTokens(request.id, list(drawn.token_ids), drawn.finish_reason)


@dataclass
class FinishedLengths:
    """The lengths of finished requests, prompt and response, in tokens."""

    n: int = 0
    total: int = 0
    squares: int = 0

    def add(self, length: int) -> None:
        self.n += 1
        self.total += length
        self.squares += length * length

    def estimate_held(self, max_new_tokens: int) -> float:
        """How many tokens a request in flight has in the cache, on average over time.

        At a random moment a long response is more likely to be found than a short one, and is half done on average:
        E[L^2] / 2 E[L]. Before MIN_FINISHED responses, a quarter of the limit, at most FIRST_GUESS.
        """
        if self.n < MIN_FINISHED:
            return max(1.0, min(max_new_tokens / 4, FIRST_GUESS))
        return self.squares / (2 * self.total)


def check_cache_size(fitting: int, own_limit: int | None, max_new_tokens: int, key: str) -> None:
    """Raises UserError if, because of the memory and not of the model, a response of full length cannot fit.

    fitting: tokens of one response and its prompt that the key-value cache holds, at most the model's own limit.
    key: the setting that enlarges the cache.
    """
    if own_limit is not None and fitting < own_limit and fitting <= max_new_tokens:
        raise UserError(
            f"the key-value cache holds {fitting} tokens, too few for a prompt and sampling.max_new_tokens "
            f"({max_new_tokens}): raise {key} or lower max_new_tokens"
        )


def _count_cache_tokens(cache: Any) -> int | None:
    """Tokens that the key-value cache holds; None if vLLM does not say. Older versions count blocks only."""
    tokens: int | None = getattr(cache, "kv_cache_size_tokens", None)
    return tokens or (cache.num_gpu_blocks and cache.num_gpu_blocks * cache.block_size) or None


def _runs_on_cpu() -> bool:
    with _quiet():
        from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _count_parameters(model: str) -> int | None:
    """Approximate number of parameters of a local model, by the size of its safetensors files; None if not local."""
    sizes = [path.stat().st_size for path in Path(model).glob("*.safetensors")] if Path(model).is_dir() else []
    return sum(sizes) // 2 if sizes else None


def _engine_arguments(engine: EngineSettings, *, on_cpu: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len or FIT_MEMORY,
        "max_num_seqs": engine.max_num_seqs,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "pipeline_parallel_size": engine.pipeline_parallel_size,
        "enforce_eager": engine.enforce_eager,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if on_cpu:
        # Compilation takes longer than it saves. With enforce_eager and the cache's size given, vLLM also skips its
        # warm-up.
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": engine.cpu_kvcache_gib * GIB}
    else:
        arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
    return arguments


def _inspect_in_process(architectures: list[str]) -> None:
    """Import the model's class in this process, which saves 10 s.

    vLLM inspects an architecture that it has not seen on this machine in a subprocess, which imports vLLM again. That
    avoids initialising CUDA in the parent, which does not matter on a CPU. A registered class is inspected in place.
    """
    from vllm import ModelRegistry

    for name in architectures:
        entry = ModelRegistry.models.get(name)
        if entry is not None:
            ModelRegistry.register_model(name, entry.load_model_cls())


def _forget_compiled_models() -> None:
    """Remove vLLM's hooks from torch.compile. They are global, and would keep a compiled model and its memory for as
    long as this process lives."""
    hooks = getattr(sys.modules.get("torch._dynamo.convert_frame"), "_bytecode_hooks", {})
    for key, hook in list(hooks.items()):
        if type(getattr(hook, "__self__", None)).__module__.startswith("vllm"):
            del hooks[key]


def _forget_failed_start() -> None:
    """Destroy the process groups of an engine that failed while starting; the next one could not create its own."""
    from vllm.distributed import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()


def _request_errors() -> tuple[type[Exception], ...]:
    """The exceptions that vLLM raises for an invalid request; newer versions have a class of their own."""
    from vllm import exceptions

    return ValueError, getattr(exceptions, "VLLMClientError", ValueError)


def _explain(error: Exception) -> str:
    """The first four lines of the message, as one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4]) or type(error).__name__


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what vLLM prints to stderr, and drop warnings."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
