"""The interface of the sampling backends, and what all of them do in the same way.

A `Sampler` takes a stream of prompts as token ids and returns a stream of responses, in the order in which they
finish. Every backend limits, decodes and counts its responses with the functions below, so that texts and token counts
do not depend on the backend.

    SamplingRequest("p-0#1", [0, 412, ...])  ->  Completion("p-0#1", "First, 3 x 4 ...</think>...", 212, 180, "stop")
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drp.errors import InputError
from drp.student.response import CLOSING, Tokenizer, count_thinking_tokens

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
    """Decoded without the end-of-sequence token; `</think>` is kept."""
    n_tokens: int
    """Tokens that the engine generated, including the end-of-sequence token."""
    n_thinking_tokens: int
    """Tokens before `</think>`; all of them if the response has no `</think>`."""
    finish_reason: str | None
    """"stop" or "length"."""


@dataclass(frozen=True)
class Rejection:
    """A request that the engine could not serve, for example because its prompt is too long."""

    id: str
    message: str
    reason: str = "refused by the engine"
    """Two or three words, by which the stage's summary counts rejections."""


class Sampler(Protocol):
    """A backend with a student loaded."""

    tokenizer: Tokenizer
    """The model's, or its adapter's if one is loaded."""

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


def read_completion(
    request_id: str, token_ids: Sequence[int], finish_reason: str | None, tokenizer: Tokenizer
) -> Completion:
    """Decode and count what the engine generated. token_ids: including the end-of-sequence token."""
    ids = list(token_ids)
    return Completion(
        id=request_id,
        text=decode_response(tokenizer, ids),
        n_tokens=len(ids),
        n_thinking_tokens=count_thinking_tokens(tokenizer, ids),
        finish_reason=finish_reason,
    )


def decode_response(tokenizer: Tokenizer, token_ids: list[int]) -> str:
    """Text without special tokens, but with `</think>`, which some tokenizers declare as special."""
    # skip_special_tokens=True would remove a special `</think>` too, so the ids are filtered here.
    special = set(tokenizer.all_special_ids) - {tokenizer.convert_tokens_to_ids(CLOSING)}
    kept = [token for token in token_ids if token not in special]
    text: str = tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def derive_seed(seed: int, request_id: str) -> int:
    """A random seed made from the run's seed and the id of the first request.

    A resumed run starts with another request. With the run's seed alone it would repeat the random numbers of the
    first run, and two samples of one problem could be identical.
    """
    return zlib.crc32(f"{seed}:{request_id}".encode())


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
