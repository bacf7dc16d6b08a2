"""Checks of the training examples before training, and a report that shows what is trained on.

example gsm8k-0#0: 62 prompt tokens (no loss), 118 response tokens (loss, between [[ and ]])
  <s><|User|>Natalia sold ...<|Assistant|><think>\\n[[First, ...</think>\\n\\nThe answer is 72.</s>]]
"""

import re
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from itertools import zip_longest
from statistics import fmean, median_high

from pydantic import BaseModel

from drp.config.sections import TrainSettings
from drp.errors import DrpError, InputError
from drp.student.response import ChatFormat, Tokenizer
from drp.training.examples import IGNORED, Example, ExampleSelection
from drp.training.memory import MemoryEstimate


class TokenLengths(BaseModel):
    """Tokens per example."""

    mean: float
    median: int
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "TokenLengths":
        return cls(mean=round(fmean(lengths), 1), median=median_high(lengths), longest=max(lengths))


class Preflight(BaseModel):
    """The first example as it is trained on, and counts over all of them."""

    id: str
    opening: str
    """The tag that opens the thinking."""
    n_prompt_tokens: int
    n_response_tokens: int
    prompt: str
    """Text of the tokens without loss: exactly the prompt of sampling and evaluation."""
    target: str
    """Text of the tokens with loss, the end-of-sequence token included."""
    train: int
    validation: int
    filtered: dict[str, int]
    failed: int
    prompt_tokens: TokenLengths
    response_tokens: TokenLengths
    memory: MemoryEstimate | None = None
    """What the training needs; None if it was not estimated."""

    def render(self) -> str:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.filtered.items())) or "none"
        return "\n".join(
            [
                f"example {self.id}: {self.n_prompt_tokens} prompt tokens (no loss), "
                f"{self.n_response_tokens} response tokens (loss, between [[ and ]])",
                *(f"  {line}" for line in f"{self.prompt}[[{self.target}]]".splitlines()),
                f"examples: {self.train} to train on, {self.validation} for validation; "
                f"left out: {reasons}; failed: {self.failed}",
                f"prompt tokens: mean {self.prompt_tokens.mean}, longest {self.prompt_tokens.longest}; "
                f"response tokens: mean {self.response_tokens.mean}, longest {self.response_tokens.longest}",
                f"checked: prompt as in evaluation, {self.opening} once, at most one BOS, EOS at the end of the labels "
                "and nowhere else, no loss on the prompt, no text lost by the tokenizer",
                *([self.memory.render()] if self.memory else []),
            ]
        )


def inspect_examples(selection: ExampleSelection, format: ChatFormat, settings: TrainSettings) -> Preflight:
    """Check every example and describe the first. Raises DrpError, with the record's id, for an example that would
    train the student on something wrong."""
    tokenizer = format.tokenizer
    examples = selection.train + selection.validation
    for example in examples:
        check_example(example, tokenizer, settings.cutoff_tokens)
    shown = selection.train[0]
    prompt, target = tokenizer.decode(shown.prompt_ids), tokenizer.decode(shown.response_ids)
    if shown.prompt_ids != format.prompt_ids(shown.question):
        raise DrpError(f"{shown.id}: the prompt is not the one that evaluation uses")
    opening = format.tags.opening
    written = prompt.rpartition(shown.question.strip())[2].count(opening) + target.lstrip().startswith(opening)
    if written != 1:
        raise DrpError(
            f"{shown.id}: expected `{opening}` once, in the chat template's prompt or in the response; found it "
            f"{written} times"
        )
    for example in examples:
        check_round_trip(example, format)
    return Preflight(
        id=shown.id,
        opening=opening,
        n_prompt_tokens=len(shown.prompt_ids),
        n_response_tokens=len(shown.response_ids),
        prompt=prompt,
        target=target,
        train=len(selection.train),
        validation=len(selection.validation),
        filtered=dict(selection.filtered),
        failed=len(selection.failures),
        prompt_tokens=TokenLengths.of([len(example.prompt_ids) for example in examples]),
        response_tokens=TokenLengths.of([len(example.response_ids) for example in examples]),
    )


def check_example(example: Example, tokenizer: Tokenizer, cutoff_tokens: int) -> None:
    """Check an example's token ids and labels. Raises DrpError with the first problem."""
    labels = example.labels
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    n_bos = example.input_ids.count(bos)
    problem = None
    if all(label == IGNORED for label in labels):
        problem = "no token carries loss: the response is empty"
    elif not example.prompt_ids:
        problem = "the prompt is empty"
    elif labels[-1] != eos or labels.count(eos) != 1:
        problem = f"expected the end-of-sequence token {tokenizer.eos_token!r} once in the labels, at the end"
    elif bos is not None and bos != eos and n_bos > 1:
        problem = f"expected at most one beginning-of-sequence token {tokenizer.bos_token!r}, found {n_bos}"
    elif len(example) > cutoff_tokens:
        problem = f"{len(example)} tokens, more than train.cutoff_tokens {cutoff_tokens}"
    if problem:
        raise DrpError(f"{example.id}: {problem}")


def check_round_trip(example: Example, format: ChatFormat) -> None:
    """Check that decoding an example's token ids gives back its text: the response as trained, and the rendered prompt.

    A tokenizer that loses text trains the student to write without it. transformers 5.6.0 and 5.7.0 load the tokenizer
    folders of R1-Distill-Qwen in such a way: "So 12 * 5" becomes "So12*5".

    Three changes that tokenizers make on purpose are allowed: Unicode normalization (Qwen's apply NFC); white space
    dropped or added at the ends of the text and beside added tokens such as `</think>` (Phi-4's, Llama 2's); a space
    in place of "▁", as which SentencePiece stores spaces.

    Raises InputError with the version of transformers and the place where the texts begin to differ.
    """
    tokenizer = format.tokenizer
    texts = (example.response, format.prompt_text(example.question))
    for text, ids in zip(texts, (example.response_ids[:-1], example.prompt_ids), strict=True):
        decoded = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if decoded == text:
            continue
        expected, got = _normalize(text, tokenizer), _normalize(decoded, tokenizer)
        if expected != got:
            differs = next(index for index, (a, b) in enumerate(zip_longest(expected, got)) if a != b)
            shown = slice(max(0, differs - 10), differs + 20)
            raise InputError(
                f"{example.id}: the tokenizer of student.model loses text: expected {expected[shown]!r}, but its "
                f"tokens decode to {got[shown]!r}, with transformers {version('transformers')}; versions 5.6.0 and "
                "5.7.0 do this to R1-Distill's tokenizers: install another version, or repair the tokenizer"
            )


def _normalize(text: str, tokenizer: Tokenizer) -> str:
    """The text without the differences that `check_round_trip` allows."""
    text = text.replace("▁", " ")
    added = [re.escape(token.replace("▁", " ")) for token in tokenizer.get_added_vocab() if token.strip()]
    if added:
        text = re.sub(rf"\s*({'|'.join(added)})\s*", r"\1", text)
    return unicodedata.normalize("NFKC", text).strip()
