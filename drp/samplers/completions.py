"""What every sampler does in the same way: room for a response, token ids into a Completion, seeds.

Keeping it in one place is what makes the backends' texts and token counts comparable.
"""

import zlib
from collections.abc import Sequence

from drp.samplers.base import Completion, Rejection, Request
from drp.traces import CLOSING, Tokenizer, count_thinking_tokens


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
