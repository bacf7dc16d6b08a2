"""Records as training examples: prompt ids, response ids, and what was left out with the reason. Imports no torch.

Reads pruned.jsonl, or traces.jsonl for the unpruned control; writes

    sft.jsonl   {"id": "gsm8k-0#0", "question": "...", "response": "First, ...", "split": "train",
                 "n_prompt_tokens": 62, "n_response_tokens": 118, "input_ids": [0, 5, ...]}

An example is the prompt exactly as in sampling and evaluation, the response as the student has to write it, and
the student's own end-of-sequence token. Prompt and response are tokenized separately and concatenated as ids, so that
no token spans the border. Examples are never truncated: those over `train.cutoff_tokens` are left out and counted.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from drp.config.sections import TrainSettings
from drp.errors import InputError
from drp.records import Failure, Record
from drp.runs.jsonl import Appender, write_atomically
from drp.runs.manifest import Counts
from drp.student.response import ChatFormat
from drp.training.draw import draw_key

IGNORED = -100
"""The label of a token without loss; torch's cross entropy ignores it by default."""


class TrainingRecord(Record):
    """The fields that training reads of a record of pruned.jsonl or traces.jsonl."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    question: str = Field(min_length=1)
    correct: bool | None = None
    finish_reason: str | None = None
    response: str | None = None
    pruned_response: str | None = None


class SftRecord(Record):
    """A line of sft.jsonl: one example as it is trained on. The last `n_response_tokens` of `input_ids` carry loss."""

    question: str
    response: str
    """As trained: with the model's own thinking tags, the opening one only if the chat template leaves it to the model;
    without the end-of-sequence token."""
    split: Literal["train", "validation"]
    n_prompt_tokens: int
    n_response_tokens: int
    """The end-of-sequence token included."""
    input_ids: list[int]
    """Prompt and response."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question and response as token ids."""

    id: str
    question: str
    response: str
    """As in `SftRecord`."""
    prompt_ids: list[int]
    response_ids: list[int]
    """Ends with the end-of-sequence token."""

    @property
    def input_ids(self) -> list[int]:
        return self.prompt_ids + self.response_ids

    @property
    def labels(self) -> list[int]:
        """Aligned with `input_ids`: the response's ids, IGNORED on the prompt."""
        return [IGNORED] * len(self.prompt_ids) + self.response_ids

    @property
    def problem_id(self) -> str:
        """The problem's id, which all samples of one problem share."""
        return self.id.rpartition("#")[0] or self.id

    def __len__(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass
class ExampleSelection:
    """The examples of a training, and an account of every record that was read."""

    train: list[Example] = field(default_factory=list)
    validation: list[Example] = field(default_factory=list)
    read: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    """How many records were left out on purpose, by reason."""
    failures: list[Failure] = field(default_factory=list)

    def counts(self) -> Counts:
        written = len(self.train) + len(self.validation)
        return Counts(read=self.read, written=written, filtered=dict(self.filtered), failed=len(self.failures))


def select_examples(
    records: Iterable[TrainingRecord | Failure], format: ChatFormat, settings: TrainSettings, seed: int
) -> ExampleSelection:
    """Encode the records, leave out those that the settings exclude, draw `max_samples` and hold out a validation part.

    Which examples are drawn, and their order, depend on ids and seed only, not on the order of the records; a lower
    `max_samples` draws a subset. At most `max_samples` examples are in memory.

    Raises InputError if the tokenizer has no end-of-sequence token.
    """
    selection = ExampleSelection()
    drawn: list[tuple[int, str, Example]] = []  # a heap with the example to drop next at its top
    seen: set[str] = set()
    for record in records:
        selection.read += 1
        outcome = _build_example(record, seen, format, settings)
        if isinstance(outcome, Failure):
            selection.failures.append(outcome)
        elif isinstance(outcome, str):
            selection.filtered[outcome] += 1
        else:
            heapq.heappush(drawn, (-draw_key(seed, outcome.id), outcome.id, outcome))
            if settings.max_samples is not None and len(drawn) > settings.max_samples:
                heapq.heappop(drawn)
                selection.filtered["not drawn"] += 1
    examples = [example for _, _, example in sorted(drawn, reverse=True)]
    held_out = _choose_validation_problems(examples, settings.validation_split, seed)
    selection.train = [example for example in examples if example.problem_id not in held_out]
    selection.validation = [example for example in examples if example.problem_id in held_out]
    return selection


def _build_example(
    record: TrainingRecord | Failure, seen: set[str], format: ChatFormat, settings: TrainSettings
) -> Example | Failure | str:
    """The example of a record; a string with the reason to leave it out; a Failure if it cannot be used."""
    if isinstance(record, Failure):
        return record
    if record.id in seen:
        return Failure(id=record.id, error="DuplicateId", message="duplicate id", attempts=1)
    seen.add(record.id)
    if settings.only_correct and not record.correct:
        return "could not be graded" if record.correct is None else "incorrect"
    if settings.response == "original" and record.finish_reason == "length":
        return "unfinished"  # an end-of-sequence token after half a response would teach the student to break off
    name = "pruned_response" if settings.response == "pruned" else "response"
    response: str | None = getattr(record, name)
    if not response or not response.strip():
        return Failure(id=record.id, error="NoResponse", message=f"field `{name}` is missing or empty", attempts=1)
    example = encode_example(format, record.id, record.question, response)
    if len(example) > settings.cutoff_tokens:
        return "overlong"
    if format.tokenizer.eos_token_id in example.response_ids[:-1]:
        return "end of sequence inside"  # spelled out in the text, it would teach the student to stop there
    return example


def encode_example(format: ChatFormat, id: str, question: str, response: str) -> Example:
    """Encode one question and a record's response. Raises InputError if the tokenizer has no end-of-sequence token."""
    tokenizer = format.tokenizer
    if tokenizer.eos_token_id is None:
        raise InputError("student.model: its tokenizer has no end-of-sequence token; set eos_token in its config")
    text = format.response_text(response)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Example(
        id=id,
        question=question,
        response=text,
        prompt_ids=format.prompt_ids(question),
        response_ids=[*ids, tokenizer.eos_token_id],
    )


def _choose_validation_problems(examples: list[Example], share: float, seed: int) -> set[str]:
    """Ids of the problems to hold out, with about `share` of the examples. Whole problems, so that no question is in
    both parts; at least one problem stays for training."""
    wanted = min(max(1, round(share * len(examples))), len(examples) - 1) if share > 0 else 0
    held_out: set[str] = set()
    count = Counter(example.problem_id for example in examples)
    for problem in sorted(count, key=lambda name: draw_key(seed, name)):
        if sum(count[name] for name in held_out) >= wanted or len(held_out) + 1 >= len(count):
            break
        held_out.add(problem)
    return held_out


def write_examples(path: Path, selection: ExampleSelection) -> None:
    """Write sft.jsonl, replacing an older one in one step."""

    def write(draft: Path) -> None:
        with Appender(draft, truncate=True) as file:
            for example in selection.train:
                file.append(_describe(example, "train"))
            for example in selection.validation:
                file.append(_describe(example, "validation"))

    write_atomically(path, write)


def _describe(example: Example, split: Literal["train", "validation"]) -> SftRecord:
    return SftRecord(
        id=example.id,
        question=example.question,
        response=example.response,
        split=split,
        n_prompt_tokens=len(example.prompt_ids),
        n_response_tokens=len(example.response_ids),
        input_ids=example.input_ids,
    )
