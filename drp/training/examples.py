"""Records as training examples: prompt ids, response ids, and what was left out.

    sft.jsonl   {"id": "gsm8k-0#0", "question": "...", "response": "First, ...", "split": "train",
                 "n_prompt_tokens": 62, "n_response_tokens": 118, "input_ids": [0, 5, ...]}

An example is the prompt exactly as it is sampled and evaluated from, the response as the student has to write it, and
the student's own end-of-sequence token. Prompt and response are tokenized apart and put together as ids, so that no
token straddles the border. Nothing is ever cut.
"""

import hashlib
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
from drp.student.response import Tokenizer, prompt_ids, response_text

IGNORED = -100
"""The label of a token without loss; what torch's cross entropy ignores."""


class Source(Record):
    """What training needs of a record, from pruned.jsonl or, for the unpruned control, from traces.jsonl."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    question: str = Field(min_length=1)
    correct: bool | None = None
    finish_reason: str | None = None
    response: str | None = None
    pruned_response: str | None = None


class SftRecord(Record):
    """One example as it is trained on. `input_ids`: prompt and response; loss on the last `n_response_tokens`."""

    question: str
    response: str
    """As trained: with `<think>` where the template leaves it to the model; without the end-of-sequence token."""
    split: Literal["train", "validation"]
    n_prompt_tokens: int
    n_response_tokens: int
    """The end-of-sequence token included."""
    input_ids: list[int]


@dataclass(frozen=True)
class Example:
    """One question and response as token ids; `response_ids` ends with the end-of-sequence token."""

    id: str
    question: str
    response: str
    prompt_ids: list[int]
    response_ids: list[int]

    @property
    def input_ids(self) -> list[int]:
        return self.prompt_ids + self.response_ids

    @property
    def labels(self) -> list[int]:
        """Aligned with `input_ids`: the response's ids, IGNORED on the prompt."""
        return [IGNORED] * len(self.prompt_ids) + self.response_ids

    @property
    def problem(self) -> str:
        """The id of the problem; samples of one problem share it."""
        return self.id.rpartition("#")[0] or self.id

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass
class Selection:
    """What is trained on, and an account of every record that was read."""

    train: list[Example] = field(default_factory=list)
    validation: list[Example] = field(default_factory=list)
    read: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def counts(self) -> Counts:
        written = len(self.train) + len(self.validation)
        return Counts(read=self.read, written=written, filtered=dict(self.filtered), failed=len(self.failures))


def encode(tokenizer: Tokenizer, id: str, question: str, response: str) -> Example:
    """One example. Raises InputError where the tokenizer has no end-of-sequence token."""
    if tokenizer.eos_token_id is None:
        raise InputError("student.model: its tokenizer names no end-of-sequence token; set eos_token in its config")
    text = response_text(tokenizer, question, response)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Example(id, question, text, prompt_ids(tokenizer, question), [*ids, tokenizer.eos_token_id])


def select_examples(
    records: Iterable[Source | Failure], tokenizer: Tokenizer, settings: TrainSettings, seed: int
) -> Selection:
    """Encode, filter and draw. What is drawn, and its order, depend on the ids and the seed alone, not on the order of
    the records; fewer `max_samples` draw a subset. Holds `max_samples` examples at most."""
    selection = Selection()
    drawn: list[tuple[int, str, Example]] = []
    seen: set[str] = set()
    for record in records:
        selection.read += 1
        outcome = _judge(record, seen, tokenizer, settings)
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
    _split(examples, settings.validation_split, seed, selection)
    return selection


def draw_key(seed: int, name: str) -> int:
    """A number that looks random, the same on every machine and in every order."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8])


def _judge(
    record: Source | Failure, seen: set[str], tokenizer: Tokenizer, settings: TrainSettings
) -> Example | Failure | str:
    """The example of a record, or the reason to leave it out, or why it could not be used at all."""
    if isinstance(record, Failure):
        return record
    if record.id in seen:
        return Failure(id=record.id, error="DuplicateId", message="id stands twice", attempts=1)
    seen.add(record.id)
    if settings.only_correct and not record.correct:
        return "could not be graded" if record.correct is None else "incorrect"
    if settings.response == "original" and record.finish_reason == "length":
        return "unfinished"  # an end-of-sequence token after half a response would teach the student to break off
    response = record.pruned_response if settings.response == "pruned" else record.response
    if not response or not response.strip():
        name = "pruned_response" if settings.response == "pruned" else "response"
        return Failure(id=record.id, error="NoResponse", message=f"field `{name}` is missing or empty", attempts=1)
    return _check(encode(tokenizer, record.id, record.question, response), tokenizer, settings)


def _check(example: Example, tokenizer: Tokenizer, settings: TrainSettings) -> Example | str:
    if len(example) > settings.cutoff_tokens:
        return "overlong"
    if tokenizer.eos_token_id in example.response_ids[:-1]:
        return "end of sequence inside"  # spelled out in the text, it would teach the student to stop there
    return example


def _split(examples: list[Example], share: float, seed: int, selection: Selection) -> None:
    """Set whole problems aside for validation, so that no question is in both parts."""
    wanted = min(max(1, round(share * len(examples))), len(examples) - 1) if share > 0 else 0
    aside: set[str] = set()
    count = Counter(example.problem for example in examples)
    for problem in sorted(count, key=lambda name: draw_key(seed, name)):
        if sum(count[name] for name in aside) >= wanted or len(aside) + 1 >= len(count):
            break
        aside.add(problem)
    selection.train = [example for example in examples if example.problem not in aside]
    selection.validation = [example for example in examples if example.problem in aside]


def write_examples(path: Path, selection: Selection) -> None:
    """Write sft.jsonl whole or not at all."""

    def write(draft: Path) -> None:
        with Appender(draft, truncate=True) as file:
            for example in selection.train:
                file.append(describe_example(example, "train"))
            for example in selection.validation:
                file.append(describe_example(example, "validation"))

    write_atomically(path, write)


def describe_example(example: Example, split: Literal["train", "validation"]) -> SftRecord:
    return SftRecord(
        id=example.id,
        question=example.question,
        response=example.response,
        split=split,
        n_prompt_tokens=len(example.prompt_ids),
        n_response_tokens=len(example.response_ids),
        input_ids=example.input_ids,
    )
