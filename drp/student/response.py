"""A response taken apart and put together: thinking and summary, prompts and token counts.

The student's chat template ends its generation prompt with `<think>\\n` (R1-Distill's newer revisions), so a response
holds `</think>` but no `<think>`. Older revisions leave the opening tag to the model. Nothing here trusts an opening
tag, and nothing writes it twice.

    First, 3 x 4 = 12.          <- thinking
    </think>

    The answer is 12.           <- summary
"""

from functools import lru_cache
from typing import Any, NamedTuple

OPENING = "<think>"
CLOSING = "</think>"

# transformers' tokenizers have no common typed base that knows chat templates.
Tokenizer = Any


class Parts(NamedTuple):
    """thinking and summary without surrounding white space; closed: whether `</think>` came."""

    thinking: str
    summary: str
    closed: bool


def split_response(response: str) -> Parts:
    """Take a raw response apart at the first `</think>`. Where it never came, all of it is thinking."""
    thinking, closing, summary = response.partition(CLOSING)
    thinking = thinking.strip().removeprefix(OPENING).strip()
    return Parts(thinking, summary.strip(), bool(closing))


def join_response(thinking: str, summary: str) -> str:
    """The form in which R1 students write: the opening tag is the template's, see `response_text`."""
    return f"{thinking}\n{CLOSING}\n\n{summary}"


def load_tokenizer(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Tokenizer:
    """The student's tokenizer. Raises InputError where there is none."""
    from transformers import AutoTokenizer

    from drp.errors import InputError

    try:
        return AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"student.model: cannot load a tokenizer from {model!r}: {reason}") from None


def prompt_text(tokenizer: Tokenizer, question: str) -> str:
    """The question as one user turn (R1 models want no system prompt), with the generation prompt."""
    messages = [{"role": "user", "content": question}]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def prompt_ids(tokenizer: Tokenizer, question: str) -> list[int]:
    """Token ids of `prompt_text`: what is sampled from, trained on and evaluated with. BOS comes from the template."""
    ids: list[int] = tokenizer(prompt_text(tokenizer, question), add_special_tokens=False)["input_ids"]
    return ids


def response_text(tokenizer: Tokenizer, question: str, response: str) -> str:
    """The response as the model itself has to write it after the prompt: with `<think>` where the template leaves it
    to the model, without where the template already wrote it."""
    bare = response.lstrip().removeprefix(OPENING).lstrip("\n")
    opened = prompt_text(tokenizer, question).rstrip().endswith(OPENING)
    return bare if opened else f"{OPENING}\n{bare}"


@lru_cache(maxsize=256)
def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Tokens of a piece of a response, special ones not added.

    Remembered for a while: a pruning's checks count the same texts, and counting is most of their time.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None and fast.truncation is None:
        # The way through transformers takes half as long again.
        return len(fast.encode_batch_fast([text], add_special_tokens=False)[0])
    # verbose: whether to warn of a text longer than the model's context, which does no harm where it is only counted.
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def count_thinking_tokens(tokenizer: Tokenizer, token_ids: list[int]) -> int:
    """How many of a response's tokens come before `</think>`; all of them where it never came."""
    closing = tokenizer(CLOSING, add_special_tokens=False)["input_ids"]
    for start in range(len(token_ids) - len(closing) + 1):
        if token_ids[start : start + len(closing)] == closing:
            return start
    return len(token_ids)
