"""The interface of the sampling backends, and what all of them do in the same way.

A `Sampler` takes a stream of prompts as token ids and returns a stream of responses, in the order in which they
finish. Every backend limits, decodes and counts its responses with the functions below, so that texts and token counts
do not depend on the backend.

    SamplingRequest("p-0#1", [0, 412, ...])  ->  Completion("p-0#1", "First, 3 x 4 ...</think>...", 212, 180, "stop")
"""

import json
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drp.errors import InputError
from drp.student.response import ChatFormat

SMALL_MODEL_PARAMETERS = 50_000_000
"""With fewer parameters, one CPU thread samples as fast as several."""


@dataclass(frozen=True)
class SamplingRequest:
    """One response to sample."""

    id: str
    prompt_ids: list[int]
    """Token ids of the whole prompt, with one beginning-of-sequence token if the model uses one."""


@dataclass(frozen=True)
class Completion:
    """One response as the engine generated it."""

    id: str
    text: str
    """Decoded without the end-of-sequence token, the model's thinking tags written as `<think>` and `</think>`."""
    n_tokens: int
    """Tokens that the engine generated, including the end-of-sequence token."""
    n_thinking_tokens: int
    """Tokens before the closing tag; all of them if the response has none."""
    finish_reason: str | None
    """"stop" or "length"."""


@dataclass(frozen=True)
class GeneratedTokens:
    """One response as token ids, not decoded yet."""

    id: str
    token_ids: Sequence[int]
    """Including the end-of-sequence token."""
    finish_reason: str | None


@dataclass(frozen=True)
class Rejection:
    """A request that the engine could not serve, for example because its prompt is too long."""

    id: str
    message: str
    reason: str = "refused by the engine"
    """Two or three words, by which the stage's summary counts rejections."""


class Sampler(Protocol):
    """A student that can be sampled: in this process, in other ones, or on a server."""

    format: ChatFormat
    """How the model is prompted and its responses are read."""

    def sample(self, requests: Iterator[SamplingRequest]) -> Iterator[Completion | Rejection]:
        """Sample one response for each request.

        Takes requests from the iterator only as it can work on them, so memory does not grow with their number.
        """
        ...

    def close(self) -> None:
        """Free memory and processes; the next engine may need them. A second call does nothing."""
        ...


def limit_response(request: SamplingRequest, max_new_tokens: int, max_model_len: int | None) -> int | Rejection:
    """How many tokens the response may have: `max_new_tokens`, or fewer if the prompt leaves fewer.

    max_model_len: limit of prompt and response together, in tokens; None if unknown.
    """
    n_prompt = len(request.prompt_ids)
    if n_prompt == 0:
        return Rejection(request.id, "the prompt is empty", "empty prompt")
    if max_model_len is None:
        return max_new_tokens
    if n_prompt >= max_model_len:
        message = f"the prompt has {n_prompt} tokens, which leaves none for a response: the limit is {max_model_len}"
        return Rejection(request.id, message, "prompt too long")
    return min(max_new_tokens, max_model_len - n_prompt)


class LocalSampler(ABC):
    """A `Sampler` whose engine runs in this process."""

    def __init__(self, format: ChatFormat) -> None:
        self.format = format

    @abstractmethod
    def sample_tokens(self, requests: Iterator[SamplingRequest]) -> Iterator[GeneratedTokens | Rejection]:
        """As `sample`, without decoding the responses."""

    @abstractmethod
    def close(self) -> None:
        """See `Sampler`."""

    def sample(self, requests: Iterator[SamplingRequest]) -> Iterator[Completion | Rejection]:
        """See `Sampler`."""
        with closing(self.sample_tokens(requests)) as stream:  # type: ignore[type-var]
            for drawn in stream:
                yield drawn if isinstance(drawn, Rejection) else read_completion(drawn, self.format)


def read_completion(generated: GeneratedTokens, format: ChatFormat) -> Completion:
    """Decode and count what an engine generated."""
    ids = list(generated.token_ids)
    return Completion(
        id=generated.id,
        text=format.decode_response(ids),
        n_tokens=len(ids),
        n_thinking_tokens=format.count_thinking_tokens(ids),
        finish_reason=generated.finish_reason,
    )


def reseed(seed: int, first: SamplingRequest) -> None:
    """Set the random seed of torch, numpy and Python for a stream of requests.

    The seed is made from the engine's and the id of the first request, because a stream that begins with another
    request should not repeat the random numbers of an earlier one: two samples of one problem could be identical.
    """
    import random

    import numpy as np
    import torch

    number = derive_seed(seed, first.id)
    random.seed(number)
    np.random.seed(number)  # vLLM's newer model runner draws the seeds of its kernels from numpy
    torch.manual_seed(number)


def derive_seed(seed: int, purpose: str) -> int:
    """Another random seed, below 2 ** 32, made from a seed and what it is for."""
    return zlib.crc32(f"{seed}:{purpose}".encode())


ADVICE = (
    (
        r"out of memory|OutOfMemory",
        "lower engine.gpu_memory_utilization, engine.max_num_seqs or, with transformers, engine.batch_size; or raise "
        "engine.tensor_parallel_size",
    ),
    (
        r"less than desired GPU memory utilization",
        "another process holds the GPU's memory: end it, see nvidia-smi, or lower engine.gpu_memory_utilization",
    ),
    (
        r"No available memory for the cache|KV cache|kv.cache",
        "raise engine.gpu_memory_utilization or engine.tensor_parallel_size, or lower engine.max_model_len",
    ),
    (
        r"divisible by tensor parallel size",
        "lower engine.tensor_parallel_size; to use more GPUs, raise engine.data_parallel_size",
    ),
    (
        r"World size|NCCL|[Ww]orker|EngineDead|Engine core",
        "a worker process failed; see what it printed above. engine.tensor_parallel_size and "
        "engine.pipeline_parallel_size must not ask for more GPUs than there are",
    ),
)
"""Patterns of error messages, and the settings that help."""


def find_advice(error: BaseException) -> str | None:
    """What to do about an engine's error; None if it is unknown."""
    text = f"{type(error).__name__}: {error}"
    return next((advice for pattern, advice in ADVICE if re.search(pattern, text)), None)


def read_rank(adapter: str) -> int:
    """The rank of a LoRA adapter in a local folder. Raises InputError if the folder holds no LoRA adapter."""
    path = Path(adapter) / "adapter_config.json"
    if not path.exists():
        raise InputError(
            f"eval.models: {adapter!r} has no adapter_config.json, so it is not an adapter; expected a folder such as "
            "`train/adapter`"
        )
    rank = json.loads(path.read_text()).get("r")
    if not isinstance(rank, int):
        raise InputError(f"eval.models: {path} has no rank `r`, so {adapter!r} is not a LoRA adapter; merge it first")
    return rank


def limit_threads(n_parameters: int | None) -> Callable[[], None]:
    """Give torch a single CPU thread if the model is small, unless the user has set OMP_NUM_THREADS.

    Torch's OpenMP threads busy-wait for each other. A model of a few million parameters gains little from a second
    thread, and loses tenfold when another process wants the same core: 560 instead of 6,500 tokens/s were measured for
    the tiny student with one other busy process on 2 cores.

    n_parameters: None if unknown, which changes nothing.
    Returns a function that restores the former state. It also undoes vLLM's replacement of `torch.set_num_threads` by a
    function that does nothing.
    """
    import torch

    set_threads, before = torch.set_num_threads, torch.get_num_threads()

    def restore() -> None:
        torch.set_num_threads = set_threads
        torch.set_num_threads(before)

    if n_parameters is not None and n_parameters < SMALL_MODEL_PARAMETERS and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return restore
