"""What every sampler does in the same way: room for a response, token ids into a Completion, seeds.

Keeping it in one place is what makes the backends' texts and token counts comparable.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from drp.errors import InputError
from drp.student.response import CLOSING, Tokenizer, count_thinking_tokens

SMALL_MODEL_PARAMETERS = 50_000_000
"""Below this one thread samples as fast as several."""


def limit_threads(n_parameters: int | None) -> Callable[[], None]:
    """Give torch one thread for a small model; OMP_NUM_THREADS, where the user set it, stays.

    n_parameters: None where unknown: nothing is changed.
    Returns what puts things back, also after vLLM, which leaves `torch.set_num_threads` dead behind it.
    """
    import torch

    set_threads, before = torch.set_num_threads, torch.get_num_threads()

    def restore() -> None:
        torch.set_num_threads = set_threads
        torch.set_num_threads(before)

    if n_parameters is not None and n_parameters < SMALL_MODEL_PARAMETERS and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return restore


@dataclass(frozen=True)
class Request:
    """One response to draw. `prompt_ids`: token ids, the beginning-of-sequence token included once."""

    id: str
    prompt_ids: list[int]


@dataclass(frozen=True)
class Completion:
    """One response as the engine gave it.

    text: decoded, without the end-of-sequence token; `</think>` stays in it.
    n_tokens: what the engine generated, the end-of-sequence token included.
    n_thinking_tokens: those before `</think>`; all of them where it never came.
    finish_reason: "stop" or "length".
    """

    id: str
    text: str
    n_tokens: int
    n_thinking_tokens: int
    finish_reason: str | None


@dataclass(frozen=True)
class Rejection:
    """A request that the engine could not serve, such as a prompt that leaves no room for a response.

    reason: two or three words for the summary that ends a stage.
    """

    id: str
    message: str
    reason: str = "refused by the engine"


class Sampler(Protocol):
    """An engine with a student loaded."""

    def sample(self, requests: Iterator[Request]) -> Iterator[Completion | Rejection]:
        """Draw one response a request. Takes requests as it has room for them; holds only those in flight."""
        ...

    def close(self) -> None:
        """Give back memory and processes; the next engine may need them."""
        ...


HUB_TIMEOUT_S = 10.0


def read_model_config(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """transformers' configuration of a model: a local folder, one in the hub's cache, or one on the hub.

    Raises InputError naming `student.model` where there is no such model, the hub cannot be reached, or the folder
    holds no model.
    """
    from transformers import AutoConfig

    # `revision=None` is taken by hub functions for the default branch.
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    local = Path(model).is_dir()
    try:
        return AutoConfig.from_pretrained(model, local_files_only=True, **options)
    except ValueError as error:
        raise InputError(f"student.model: cannot read the model {model!r}: {_first_line(error)}") from None
    except OSError as error:
        if local or Path(model).is_absolute():
            raise InputError(f"student.model: {_explain_folder(model, error)}") from None
    # transformers would try five times with growing pauses; one question to the hub tells the same.
    _check_hub(model, revision)
    try:
        return AutoConfig.from_pretrained(model, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"student.model: cannot read the configuration of {model!r}: {_first_line(error)}") from None


def read_rank(adapter: str) -> int:
    """The rank of a LoRA adapter in a folder. Raises InputError where there is none."""
    path = Path(adapter) / "adapter_config.json"
    if not path.exists():
        raise InputError(f"eval.models: {adapter!r} holds no adapter_config.json, so no adapter; name `train/adapter`")
    rank = json.loads(path.read_text()).get("r")
    if not isinstance(rank, int):
        raise InputError(f"eval.models: {path} names no rank `r`, so {adapter!r} is no LoRA adapter; merge it first")
    return rank


def count_parameters(model: str) -> int | None:
    """About how many parameters a local model has, by its safetensors files; None for models that are not local."""
    sizes = [path.stat().st_size for path in Path(model).glob("*.safetensors")] if Path(model).is_dir() else []
    return sum(sizes) // 2 if sizes else None


def _explain_folder(model: str, error: Exception) -> str:
    path = Path(model)
    if not path.exists():
        return f"there is no folder {model!r}"
    if not (path / "config.json").exists():
        return f"{model!r} holds no config.json, so no model; name the folder that save_pretrained wrote"
    return f"cannot read the model in {model!r}: {_first_line(error)}"


def _check_hub(model: str, revision: str | None) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    missing = f"student.model: {model!r} is no folder here"
    try:
        HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_S)
    except HFValidationError:
        raise InputError(f"{missing}, and no name that a model on the hub could have") from None
    except HfHubHTTPError as error:
        hint = "check the name and the revision; for a private or gated model, `hf auth login`"
        raise InputError(f"{missing}, and the hub refuses it ({_first_line(error)}): {hint}") from None
    except Exception as error:  # the hub's HTTP client, and so its errors, differ between versions
        hint = "download it where there is a network and name the folder"
        raise InputError(f"{missing}, and the hub cannot be reached ({_first_line(error)}): {hint}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def limit_response(request: Request, max_new_tokens: int, max_model_len: int | None) -> int | Rejection:
    """Tokens that the response may have: `max_new_tokens`, or the room that the prompt leaves of `max_model_len`.

    max_model_len: prompt and response together, in tokens; None where unknown.
    """
    n_prompt = len(request.prompt_ids)
    if n_prompt == 0:
        return Rejection(request.id, "the prompt is empty", "empty prompt")
    if max_model_len is None:
        return max_new_tokens
    if n_prompt >= max_model_len:
        message = f"the prompt's {n_prompt} tokens leave no room for a response: the model's limit is {max_model_len}"
        return Rejection(request.id, message, "prompt too long")
    return min(max_new_tokens, max_model_len - n_prompt)


def read_completion(
    request_id: str, token_ids: Sequence[int], finish_reason: str | None, tokenizer: Tokenizer
) -> Completion:
    """A Completion out of what the engine generated, the end-of-sequence token included."""
    ids = list(token_ids)
    return Completion(
        id=request_id,
        text=decode_response(tokenizer, ids),
        n_tokens=len(ids),
        n_thinking_tokens=count_thinking_tokens(tokenizer, ids),
        finish_reason=finish_reason,
    )


def decode_response(tokenizer: Tokenizer, token_ids: list[int]) -> str:
    """Text without special tokens, except that `</think>` stays even in a tokenizer that calls it special."""
    special = set(tokenizer.all_special_ids) - {tokenizer.convert_tokens_to_ids(CLOSING)}
    kept = [token for token in token_ids if token not in special]
    # Filtered here, not by the tokenizer: skip_special_tokens would take a special `</think>` too.
    text: str = tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def derive_seed(seed: int, request_id: str) -> int:
    """A seed of the run's seed and the first request's id.

    A resumed run starts with another request; with the bare seed it would repeat the random numbers of the first run,
    and two samples of one problem could come out the same.
    """
    return zlib.crc32(f"{seed}:{request_id}".encode())


# FOLDED DOC of samplers.threads:
# Torch's threads on a CPU.
#
# Torch's OpenMP threads spin while they wait for each other. A model of a few million parameters gains little from a
# second thread, and where another process wants the same core it loses tenfold: 560 against 6,500 tokens/s were measured
# for the tiny student beside one busy process on 2 cores.
#

# FOLDED DOC of samplers.base:
# What a sampler does, whichever engine is behind it: a stream of prompts in, a stream of responses out.
#
# Responses come as they finish, not in the order of the prompts.
#

# FOLDED DOC of samplers.models:
# A look at a model before an engine is started for it: a wrong name costs a second then, not a minute.
