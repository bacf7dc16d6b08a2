"""Every JSONL record, each carrying all that the next stage needs.

    problems.jsonl   Problem        {"id": "gsm8k-train-0", "question": "Natalia sold ...", "answer": "72", ...}
    traces.jsonl     Trace          a Problem's question and answer, with the student's response taken apart
    steps.jsonl      Decomposition  a Trace with its steps
    pruned.jsonl     Pruning        a Decomposition with its edits and the shorter response
    eval/*.jsonl     Sample         one graded response of an evaluated model
    judge/*.jsonl    Judgement      a judge's verdicts on two decompositions of one trace
    *.failed.jsonl   Failure        what went wrong with one record

Fields that are not known here are kept and passed on.
"""

import re
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """One line of an artifact. `id` is unique in its file; resuming goes by it."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    id: str = Field(min_length=1)


class Problem(Record):
    """A question with its gold answer."""

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    """Gold answer alone, such as "72" or "\\frac{1}{2}"; not the worked solution."""
    source: str
    """The data set it came from."""


class Trace(Record):
    """One response of the student. `id` is `{problem id}#{sample}`."""

    problem_id: str
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    response: str
    """Raw text after the generation prompt, as the engine gave it, without the end-of-sequence token."""
    thinking: str
    """The text before `</think>`; the whole response where the tag never came."""
    summary: str
    """The text after `</think>`; empty where the tag never came."""
    predicted: str | None
    """The final answer found in the summary; None where there is none."""
    correct: bool | None
    """None: could not be graded."""
    finish_reason: str | None
    """"stop", "length", or None where unknown."""
    n_tokens: int | None
    """Tokens of the response as the engine counted them; None where no tokenizer was at hand."""
    model: str
    source: str | None = None


class Usage(BaseModel):
    """What a teacher used for one record, re-asks included."""

    model_config = ConfigDict(frozen=True)

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where the model's price is unknown; 0 for an offline teacher."""

    def __add__(self, other: "Usage") -> "Usage":
        costs = (self.cost_usd, other.cost_usd)
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=None if None in costs else sum(c for c in costs if c is not None),
        )


class Step(BaseModel):
    """A contiguous piece of the thinking that exercises one skill (paper, section 3.1).

    The steps of a trace tile its thinking: the first starts at 0, each starts where the one before ends, the last ends
    at len(thinking), and text == thinking[start:end].
    """

    model_config = ConfigDict(frozen=True)

    text: str
    skill: str | None
    """None for the methods that name no skills (`default`, `sentence`)."""
    start: int
    end: int


class Decomposition(Trace):
    """A trace with its steps."""

    steps: list[Step]
    teacher: str
    """`rules`, or the model's name."""
    usage: Usage


class Action(StrEnum):
    """What a teacher does with a step (paper, section 3.2)."""

    KEEP = "keep"
    DELETE = "delete"
    REWRITE = "rewrite"
    MERGE = "merge"


class Edit(BaseModel):
    """One action on one step, or on several neighbouring ones for a merge. Every step is in exactly one edit."""

    model_config = ConfigDict(frozen=True)

    action: Action
    sources: list[int] = Field(min_length=1)
    """Indexes into `steps`, ascending."""
    text: str
    """What stands there afterwards; empty for a delete."""


class Pruning(Decomposition):
    """A decomposition with its edits and the shorter response that the student is trained on."""

    edits: list[Edit]
    pruned_thinking: str
    pruned_summary: str
    pruned_response: str
    """pruned_thinking + closing tag + pruned_summary, in the form in which the student itself writes."""
    n_tokens_pruned: int | None


class Sample(Record):
    """One graded response of an evaluated model. `id` is `{problem id}#{sample}`."""

    question: str
    answer: str
    response: str
    predicted: str | None
    correct: bool | None
    n_tokens: int
    n_thinking_tokens: int
    """Tokens before the closing tag; all of them where it never came."""
    finish_reason: str | None


class Verdict(BaseModel):
    """What a judge said of two decompositions that it was shown in one order."""

    model_config = ConfigDict(frozen=True)

    first: Literal["a", "b"]
    """The one that stood first."""
    winner: Literal["a", "b", "tie"]
    reason: str | None
    """The judge's own words, shortened; None where it gave none."""


class Judgement(Record):
    """Which of two decompositions of one trace a judge prefers (paper, Appendix D). `id` is the trace's."""

    winner: Literal["a", "b", "tie"]
    """`a` or `b` where it wins in both orders, else `tie`."""
    verdicts: list[Verdict]
    """One an order: a first, then b first."""
    judge: str
    teacher_a: str
    """Who made the decomposition."""
    teacher_b: str
    n_steps_a: int
    n_steps_b: int
    usage: Usage


class Failure(Record):
    """A record that could not be worked on. The next run tries it again."""

    error: str
    """The error's type."""
    reason: str | None = None
    """Two or three words, such as `answer changed`, the same for every record that fails so; None: its type says it."""
    message: str
    attempts: int
    raw: str | None = None
    """The last raw reply of a model, when there was one."""

    @property
    def kind(self) -> str:
        """What failures are counted by: the reason, else the error's type in words, such as `duplicate id`."""
        return self.reason or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.error).lower()


class Omission(Record):
    """A record that a stage worked on and leaves out on purpose; counted with its reason, never written."""

    reason: str
