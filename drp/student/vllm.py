"""vLLM's engine, fed continuously: requests go in as there is room, each response comes out as it finishes.

The engine lives in this process, not in one of its own as vLLM would have it: that one outlives a killed parent and
keeps its cores and its GPU's memory. On a CPU it also starts in a quarter of the time and is not tied to one core.
VLLM_ENABLE_V1_MULTIPROCESSING=1 in the environment brings vLLM's own arrangement back.
"""

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import InputError, UserError
from drp.student.base import (
    Completion,
    Rejection,
    Request,
    count_parameters,
    derive_seed,
    limit_response,
    limit_threads,
    read_completion,
    read_rank,
)
from drp.student.response import Tokenizer

GIB = 1 << 30
LORA_RANKS = (8, 16, 32, 64, 128, 256, 512)
"""What vLLM's max_lora_rank may be."""
FIT_MEMORY = -1
"""vLLM's max_model_len for: the model's own limit, or what the key-value cache holds where that is less."""


class VllmSampler:
    """A student in vLLM; one at a time in a process.

    Raises InputError where vLLM cannot load it, UserError where the key-value cache cannot hold one response.
    """

    def __init__(
        self,
        model: str,
        engine: EngineSettings,
        sampling: SamplingSettings,
        seed: int,
        tokenizer: Tokenizer,
        config: Any,
        revision: str | None = None,
        trust_remote_code: bool = False,
        adapter: str | None = None,
    ) -> None:
        self._sampling, self._seed, self._tokenizer = sampling, seed, tokenizer
        self._restore_threads: Callable[[], None] = lambda: None
        self._on_cpu = _runs_on_cpu()
        self._in_process = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "0") == "0"
        if self._on_cpu:
            self._restore_threads = limit_threads(count_parameters(model))
        arguments = _engine_arguments(engine, on_cpu=self._on_cpu)
        arguments |= {"model": model, "seed": seed, "revision": revision, "tokenizer_revision": revision}
        arguments |= {"trust_remote_code": trust_remote_code}
        self._adapter = adapter
        if adapter:
            room = min((size for size in LORA_RANKS if size >= read_rank(adapter)), default=LORA_RANKS[-1])
            arguments |= {"enable_lora": True, "max_lora_rank": room}
        try:
            self._engine: Any = self._start(arguments, config)
            self.max_model_len: int = self._engine.model_config.max_model_len
            if engine.max_model_len is None:
                key = "engine.cpu_kvcache_gib" if self._on_cpu else "engine.gpu_memory_utilization"
                own_limit = getattr(config, "max_position_embeddings", None)
                check_room(self.max_model_len, own_limit, sampling.max_new_tokens, key)
        except BaseException:
            self.close()
            raise
        # Some requests wait inside the engine, so that a slot that falls free is filled in the same step.
        self._capacity = engine.max_num_seqs + max(1, engine.max_num_seqs // 8)

    def sample(self, requests: Iterator[Request]) -> Iterator[Completion | Rejection]:
        """Draw one response a request, in the order in which they finish.

        Leaving the iteration early takes what is in flight out of the engine, which can then be used again.
        """
        in_flight: dict[str, Request] = {}
        serial = 0
        exhausted = False
        try:
            while in_flight or not exhausted:
                while not exhausted and len(in_flight) < self._capacity:
                    request = next(requests, None)
                    if request is None:
                        exhausted = True
                        break
                    if serial == 0:
                        self._reseed(request)
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
        """Stop the engine and give back its memory, processes and threads. Does nothing the second time."""
        engine, self._engine = getattr(self, "_engine", None), None
        if engine is not None:
            engine.engine_core.shutdown()
            del engine
            gc.collect()
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
                raise InputError(f"vLLM cannot start {arguments['model']!r}: {_explain(error)}") from error

    def _add(self, serial: str, request: Request) -> Rejection | None:
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind

        limit = limit_response(request, self._sampling.max_new_tokens, self.max_model_len)
        if isinstance(limit, Rejection):
            return limit
        # No stop strings: they would fire inside the thinking. No seed: vLLM crashes on it on a CPU.
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
        except _refusals() as error:
            return Rejection(request.id, f"vLLM refuses the request: {_explain(error)}")
        return None

    def _step(self, in_flight: dict[str, Request]) -> Iterator[Completion]:
        for output in self._engine.step():
            request = in_flight.pop(output.request_id)
            drawn = output.outputs[0]
            yield read_completion(request.id, drawn.token_ids, drawn.finish_reason, self._tokenizer)

    def _reseed(self, first: Request) -> None:
        """Only an engine in this process can be reached; others keep the seed they started with."""
        if self._in_process:
            import torch

            torch.manual_seed(derive_seed(self._seed, first.id))


def check_room(fitting: int, own_limit: int | None, max_new_tokens: int, key: str) -> None:
    """Raises UserError where it is the memory, not the model, that leaves no room for a whole response.

    fitting: tokens that the key-value cache holds of one response and its prompt, at most the model's own limit.
    key: the setting that makes the cache larger.
    """
    if own_limit is not None and fitting < own_limit and fitting <= max_new_tokens:
        raise UserError(
            f"the key-value cache holds {fitting} tokens, which leaves no room for a prompt beside "
            f"sampling.max_new_tokens ({max_new_tokens}): raise {key} or lower max_new_tokens"
        )


def _runs_on_cpu() -> bool:
    with _quiet():
        from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


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
        # Compilation takes longer than it saves; with it off and the cache's size given, vLLM skips its warm-up too.
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": engine.cpu_kvcache_gib * GIB}
    else:
        arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
    return arguments


def _inspect_in_process(architectures: list[str]) -> None:
    """vLLM looks at an architecture that is new to the machine in a process of its own, which imports vLLM again
    (10 s): that spares a parent CUDA, and there is none here. A registered class it looks at where it is."""
    from vllm import ModelRegistry

    for name in architectures:
        entry = ModelRegistry.models.get(name)
        if entry is not None:
            ModelRegistry.register_model(name, entry.load_model_cls())


def _forget_failed_start() -> None:
    """Process groups that an engine made before it failed would stand in the next one's way."""
    from vllm.distributed import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()


def _refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises over a request that it will not serve, in older and newer versions."""
    from vllm import exceptions

    return ValueError, getattr(exceptions, "VLLMClientError", ValueError)


def _explain(error: Exception) -> str:
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
    """What is printed goes to stderr, and warnings about other packages' use of each other nowhere."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
