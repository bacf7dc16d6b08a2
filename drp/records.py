"""The records of all JSONL artifacts. Each carries everything that the next stage needs.

    problems.jsonl   Problem        {"id": "gsm8k-train-0", "question": "Natalia sold ...", "answer": "72", ...}
    traces.jsonl     Trace          a Problem's question and answer, with the student's response split and graded
    steps.jsonl      Decomposition  a Trace with its steps
    pruned.jsonl     Pruning        a Decomposition with its edits and the shorter response
    eval/*.jsonl     Sample         one graded response of an evaluated model
    judge/*.jsonl    Judgement      a judge's verdicts on two decompositions of one trace
    *.failed.jsonl   Failure        what went wrong with one record

Fields that a model does not declare are kept and passed on.
"""

import re
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """One line of an artifact. `id` is unique in its file; stages resume by it."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    id: str = Field(min_length=1)


class Problem(Record):
    """A question with its gold answer."""

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    """The gold answer alone, such as "72" or "\\frac{1}{2}"; not the worked solution."""
    source: str
    """Name of the data set."""


class Trace(Record):
    """One response of the student. `id` is `{problem id}#{sample}`."""

    problem_id: str
    question: str = Field(min_length=1)
    answer: str
    """The gold answer; empty if it is not known, and the trace then not graded."""
    response: str
    """Text after the generation prompt, as the engine returned it, without the end-of-sequence token. The model's
    thinking tags are written as `<think>` and `</think>`, whatever they are."""
    thinking: str
    """The text before `</think>`; the whole response if it has no such tag."""
    summary: str
    """The text after `</think>`; empty if there is no such tag."""
    predicted: str | None
    """The final answer found in the summary; None if there is none."""
    correct: bool | None
    """Whether `predicted` equals `answer`; None if it could not be graded."""
    finish_reason: str | None
    """"stop", "length", or None if unknown."""
    n_tokens: int | None
    """Tokens of the response as the engine counted them; None for imported traces without a tokenizer."""
    model: str
    source: str | None = None


class Usage(BaseModel):
    """What a teacher used for one record, retries of unusable replies included."""

    model_config = ConfigDict(frozen=True)

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None if the model's price is unknown; 0 for an offline teacher."""

    def __add__(self, other: "Usage") -> "Usage":
        costs = (self.cost_usd, other.cost_usd)
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=None if None in costs else sum(c for c in costs if c is not None),
        )


class Step(BaseModel):
    """A contiguous part of the thinking that uses one skill (paper, section 3.1).

    The steps of a trace tile its thinking: the first starts at 0, each starts where the one before ends, the last ends
    at len(thinking), and text == thinking[start:end].
    """

    model_config = ConfigDict(frozen=True)

    text: str
    skill: str | None
    """None for the methods that assign no skills (`default`, `sentence`)."""
    start: int
    """Character offset into the thinking."""
    end: int


class Decomposition(Trace):
    """A trace with its steps."""

    steps: list[Step]
    teacher: str
    """`rules`, or the model's name."""
    usage: Usage
    coverage: float | None = None
    """Share of the thinking's words that a teacher's copied steps had, from 0 to 1. The steps here are cut from the
    thinking itself, whatever the share. None if no copy was asked for, and in records of earlier versions."""


class Action(StrEnum):
    """What a teacher does with a step (paper, section 3.2)."""

    KEEP = "keep"
    DELETE = "delete"
    REWRITE = "rewrite"
    MERGE = "merge"


class Edit(BaseModel):
    """One action on one step, or a merge of several consecutive ones. Every step is in exactly one edit."""

    model_config = ConfigDict(frozen=True)

    action: Action
    sources: list[int] = Field(min_length=1)
    """Indexes into `steps`, ascending."""
    text: str
    """The text that replaces them; empty for a delete."""


class Pruning(Decomposition):
    """A decomposition with its edits and the shorter response that the student is trained on."""

    edits: list[Edit]
    pruned_thinking: str
    pruned_summary: str
    pruned_response: str
    """pruned_thinking + closing tag + pruned_summary, formatted as the student's own responses are."""
    n_tokens_pruned: int | None
    """Tokens of `pruned_response`, the end-of-sequence token included."""


class Sample(Record):
    """One graded response of an evaluated model. `id` is `{problem id}#{sample}`. Fields are as in Trace."""

    question: str
    answer: str
    response: str
    predicted: str | None
    correct: bool | None
    n_tokens: int
    n_thinking_tokens: int
    """Tokens before the closing tag; all of them if there is no such tag."""
    finish_reason: str | None


class Verdict(BaseModel):
    """A judge's verdict on two decompositions that it was shown in one order."""

    model_config = ConfigDict(frozen=True)

    first: Literal["a", "b"]
    """The one shown first."""
    winner: Literal["a", "b", "tie"]
    reason: str | None
    """The judge's own words, shortened; None if it gave none."""


class Judgement(Record):
    """Which of two decompositions of one trace a judge prefers (paper, Appendix D). `id` is the trace's."""

    winner: Literal["a", "b", "tie"]
    """`a` or `b` if it wins in both orders, else `tie`."""
    verdicts: list[Verdict]
    """One per order: a first, then b first."""
    judge: str
    """The model's name."""
    teacher_a: str
    """Which teacher made the decomposition."""
    teacher_b: str
    n_steps_a: int
    n_steps_b: int
    usage: Usage


class Failure(Record):
    """A record that could not be processed. The next run retries it."""

    error: str
    """The type of the exception."""
    reason: str | None = None
    """The cause in two or three words, such as `answer changed`, for counting; None: use the type."""
    message: str
    attempts: int
    raw: str | None = None
    """The model's last raw reply, if there was one."""

    @property
    def kind(self) -> str:
        """What failures are counted by: the reason, else the type in words, such as `duplicate id`."""
        return self.reason or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.error).lower()


class Omission(Record):
    """A record that a stage leaves out on purpose; counted by its reason, not written."""

    reason: str
