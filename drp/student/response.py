"""The text format of the student: chat prompt, `<think>` tags, token counts.

The chat template of R1-Distill's newer revisions ends its generation prompt with `<think>\\n`, so a response contains
`</think>` but no `<think>`. Older revisions leave the opening tag to the model. The functions here accept both and
never write an opening tag twice.

    First, 3 x 4 = 12.          <- thinking
    </think>

    The answer is 12.           <- summary
"""

from functools import lru_cache
from typing import Any, NamedTuple

from drp.errors import InputError, first_line

OPENING = "<think>"
CLOSING = "</think>"

# transformers has no common type for tokenizers that includes chat templates.
Tokenizer = Any


def load_tokenizer(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Tokenizer:
    """Load the student's tokenizer. Raises InputError if it cannot be found or loaded."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise InputError(f"student.model: cannot load a tokenizer from {model!r}: {first_line(error)}") from None


def prompt_text(tokenizer: Tokenizer, question: str) -> str:
    """The chat prompt: the question as one user turn without a system prompt, then the generation prompt."""
    messages = [{"role": "user", "content": question}]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def prompt_ids(tokenizer: Tokenizer, question: str) -> list[int]:
    """Token ids of `prompt_text`, used alike for sampling, training and evaluation.

    The template itself writes the beginning-of-sequence token, so the tokenizer must not add another.
    """
    ids: list[int] = tokenizer(prompt_text(tokenizer, question), add_special_tokens=False)["input_ids"]
    return ids


def response_text(tokenizer: Tokenizer, question: str, response: str) -> str:
    """The response as the model has to generate it after the prompt.

    It begins with `<think>` only if the template does not already end the prompt with that tag.
    """
    bare = response.lstrip().removeprefix(OPENING).lstrip("\n")
    opened = prompt_text(tokenizer, question).rstrip().endswith(OPENING)
    return bare if opened else f"{OPENING}\n{bare}"


class Parts(NamedTuple):
    """A response taken apart."""

    thinking: str
    summary: str


def split_response(response: str) -> Parts:
    """Split a raw response at the first `</think>`; without one, all of it is thinking. Both parts are stripped."""
    thinking, _, summary = response.partition(CLOSING)
    return Parts(thinking.strip().removeprefix(OPENING).strip(), summary.strip())


def join_response(thinking: str, summary: str) -> str:
    """Thinking and summary in R1's format, without the opening tag (see `response_text`)."""
    return f"{thinking}\n{CLOSING}\n\n{summary}"


@lru_cache(maxsize=256)
def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Number of tokens of a part of a response; no special tokens are added.

    Cached, because the checks of a pruning count the same texts repeatedly and most of their time is counting.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None and fast.truncation is None:
        # Calling the tokenizer through transformers takes 1.5 times as long.
        return len(fast.encode_batch_fast([text], add_special_tokens=False)[0])
    # verbose=False: no warning about texts longer than the model's context; here they are only counted.
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def count_thinking_tokens(tokenizer: Tokenizer, token_ids: list[int]) -> int:
    """Number of tokens before `</think>`; all of them if the response has no `</think>`."""
    closing = tokenizer(CLOSING, add_special_tokens=False)["input_ids"]
    for start in range(len(token_ids) - len(closing) + 1):
        if token_ids[start : start + len(closing)] == closing:
            return start
    return len(token_ids)
