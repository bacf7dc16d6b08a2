"""What is about to be trained on, shown and checked before anything is.

example gsm8k-0#0: 62 prompt tokens (no loss), 118 response tokens (loss)
  <s><|User|>Natalia sold ...<|Assistant|><think>\\n[[First, ...</think>\\n\\nThe answer is 72.</s>]]
"""

from collections.abc import Sequence

from pydantic import BaseModel

from drp.errors import DrpError
from drp.settings import TrainSettings
from drp.traces import OPENING, Tokenizer, prompt_ids
from drp.training.examples import IGNORED, Example, Selection
from drp.training.memory import Forecast


class Lengths(BaseModel):
    """Tokens an example."""

    mean: float
    median: int
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Lengths":
        ordered = sorted(lengths)
        mean = round(sum(ordered) / len(ordered), 1)
        return cls(mean=mean, median=ordered[len(ordered) // 2], longest=ordered[-1])


class Preflight(BaseModel):
    """The first example as it is trained on, and an account of all of them."""

    id: str
    n_prompt_tokens: int
    n_response_tokens: int
    prompt: str
    """Without loss: exactly what is sampled and evaluated from."""
    target: str
    """With loss, the end-of-sequence token included."""
    tokens: list[tuple[int, str, bool]]
    """Id, text and whether it carries loss, for every token of the example."""
    train: int
    validation: int
    filtered: dict[str, int]
    failed: int
    prompt_tokens: Lengths
    response_tokens: Lengths
    memory: Forecast | None = None
    """What the training takes; None where nobody asked for it."""

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
                f"checked: prompt as in evaluation, {OPENING} once, at most one BOS, EOS at the end of the labels and "
                "nowhere else, no loss on the prompt",
                *([self.memory.render()] if self.memory else []),
            ]
        )


def inspect_examples(selection: Selection, tokenizer: Tokenizer, settings: TrainSettings) -> Preflight:
    """Check every example and show the first. Raises DrpError, with the record's id, where one would teach something
    wrong."""
    examples = selection.train + selection.validation
    for example in examples:
        check_example(example, tokenizer, settings.cutoff_tokens)
    shown = selection.train[0]
    prompt, target = tokenizer.decode(shown.prompt_ids), tokenizer.decode(shown.response_ids)
    if shown.prompt_ids != prompt_ids(tokenizer, shown.question):
        raise DrpError(f"{shown.id}: the prompt is not the one that evaluation uses")
    written = prompt.rpartition(shown.question.strip())[2].count(OPENING) + target.lstrip().startswith(OPENING)
    if written != 1:
        raise DrpError(f"{shown.id}: `{OPENING}` is written {written} times, by the chat template and the response")
    return Preflight(
        id=shown.id,
        n_prompt_tokens=len(shown.prompt_ids),
        n_response_tokens=len(shown.response_ids),
        prompt=prompt,
        target=target,
        tokens=mark_tokens(shown, tokenizer),
        train=len(selection.train),
        validation=len(selection.validation),
        filtered=dict(selection.filtered),
        failed=len(selection.failures),
        prompt_tokens=Lengths.of([len(example.prompt_ids) for example in examples]),
        response_tokens=Lengths.of([len(example.response_ids) for example in examples]),
    )


def check_example(example: Example, tokenizer: Tokenizer, cutoff_tokens: int) -> None:
    """Raises DrpError with the first thing that is wrong."""
    problem = _find_problem(example, tokenizer, cutoff_tokens)
    if problem:
        raise DrpError(f"{example.id}: {problem}")


def _find_problem(example: Example, tokenizer: Tokenizer, cutoff_tokens: int) -> str | None:
    labels = example.labels
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    if all(label == IGNORED for label in labels):
        return "no token carries loss: the response is empty"
    if not example.prompt_ids or labels[0] != IGNORED:
        return "the prompt is empty"
    if labels[-1] != eos or labels.count(eos) != 1:
        return f"expected the end-of-sequence token {tokenizer.eos_token!r} once in the labels, at the end"
    if bos is not None and bos != eos and example.input_ids.count(bos) > 1:
        return f"the beginning-of-sequence token {tokenizer.bos_token!r} stands {example.input_ids.count(bos)} times"
    if len(example) > cutoff_tokens:
        return f"{len(example)} tokens, over train.cutoff_tokens {cutoff_tokens}"
    return None


def mark_tokens(example: Example, tokenizer: Tokenizer) -> list[tuple[int, str, bool]]:
    pairs = zip(example.input_ids, example.labels, strict=True)
    return [(token, tokenizer.decode([token]), label != IGNORED) for token, label in pairs]
