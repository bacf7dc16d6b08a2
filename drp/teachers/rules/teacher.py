"""The offline teacher: the same steps and the same edits every time, with no key and no network.

    decompose  trace -> steps      {"text": "First, 12 x 3 = 36. ", "skill": "Multiplication", "start": 0, "end": 20}
    prune      steps -> revision   an action for each step and the shorter response

It reads reasoning as prose (teachers.ruleset): nothing is computed and no number is added that the trace does not have,
so that it can shorten a trace but never repair it.
"""

from typing import Literal

from drp.errors import RecordError
from drp.records import Decomposition, Trace, Usage
from drp.teachers.base import Revision, Segmentation
from drp.teachers.rules.reading import find_quantities, read_steps
from drp.teachers.rules.rewriting import join_pieces, revise_clauses, write_edits
from drp.teachers.rules.segmentation import segment
from drp.teachers.rules.selection import Answer, condense_summary, find_topic, read_answer, select

_FREE = Usage(calls=0, cost_usd=0.0)


class RulesTeacher:
    """A `Teacher` of fixed rules. method: how `decompose` splits (paper, sections 3.1 and 6.1, appendix D)."""

    name = "rules"

    def __init__(self, method: Literal["skill", "default", "sentence"] = "skill") -> None:
        self.method = method

    async def decompose(self, trace: Trace) -> Segmentation:
        """Steps that tile the thinking; raises RecordError where there is none."""
        _demand_thinking(trace)
        return Segmentation(steps=segment(trace.thinking, self.method), usage=_FREE)

    async def prune(self, decomposition: Decomposition) -> Revision:
        """Drop what the answer does not depend on, shorten the rest; raises RecordError where there is no thinking."""
        _demand_thinking(decomposition)
        summary = condense_summary(decomposition.summary, decomposition.predicted)
        readings = read_steps(decomposition.steps)
        answer = read_answer(decomposition.predicted) if decomposition.predicted else None
        topic = find_topic(decomposition.question, summary)
        selection = select(readings, decomposition.question, answer, topic)
        pieces = revise_clauses(readings, selection)
        thinking = join_pieces(pieces)
        if not _states(thinking, answer) and len(thinking) < len(decomposition.thinking.strip()):
            # Only the summary works the answer out: without it, the student would learn to guess.
            summary = decomposition.summary.strip()
        return Revision(write_edits(decomposition.steps, pieces), thinking, summary, _FREE)

    async def close(self) -> None:
        """Nothing is held."""


def _states(thinking: str, answer: Answer | None) -> bool:
    return answer is not None and answer.is_in(thinking, frozenset(find_quantities(thinking)))


def _demand_thinking(trace: Trace) -> None:
    if not trace.thinking.strip():
        raise RecordError(
            f"{trace.id}: there is no thinking to split into steps; expected reasoning before </think>. "
            "Drop this trace, or sample it again.",
            reason="empty thinking",
        )
