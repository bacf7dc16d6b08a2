"""The offline teacher: the same steps and the same edits every time, without a key or a network.

    decompose  trace -> steps      {"text": "First, 12 x 3 = 36. ", "skill": "Multiplication", "start": 0, "end": 20}
    prune      steps -> revision   one action for each step, and the shorter response

It goes by the wording of the trace alone. Nothing is computed and no number is added, so that it can shorten a trace
but never repair it.
"""

from drp.errors import RecordError
from drp.records import Decomposition, Trace, Usage
from drp.teachers.base import Method, Revision, Segmentation
from drp.teachers.numbers import find_quantities
from drp.teachers.rules.reading import read_clause, read_steps
from drp.teachers.rules.rewriting import join_fragments, rewrite_clauses, write_edits
from drp.teachers.rules.segmentation import segment
from drp.teachers.rules.selection import condense_summary, read_answer, select

_FREE = Usage(calls=0, cost_usd=0.0)


class RulesTeacher:
    """A `Teacher` of fixed rules. method: how `decompose` splits (paper, sections 3.1 and 6.1, appendix D)."""

    name = "rules"

    def __init__(self, method: Method = "skill") -> None:
        self.method = method

    async def decompose(self, trace: Trace) -> Segmentation:
        """Steps that tile the thinking. Raises RecordError if the thinking is empty."""
        _require_thinking(trace)
        return Segmentation(steps=segment(trace.thinking, self.method), usage=_FREE)

    async def prune(self, decomposition: Decomposition) -> Revision:
        """Drop what the answer does not depend on and shorten the rest. Raises RecordError if the thinking is empty."""
        _require_thinking(decomposition)
        source = decomposition.thinking.strip()
        answer = read_answer(decomposition.predicted) if decomposition.predicted else None
        readings = read_steps(decomposition.steps)
        selection = select(readings, read_clause(decomposition.question), answer)
        fragments = rewrite_clauses(readings, selection)
        thinking = join_fragments(fragments)
        summary = condense_summary(decomposition.summary, answer)
        if len(thinking) < len(source) and not (answer and answer.is_in(thinking, find_quantities(thinking))):
            # Only the summary works the answer out: without it, the student would learn to guess.
            summary = decomposition.summary.strip()
        return Revision(write_edits(decomposition.steps, fragments), thinking, summary, _FREE)

    async def close(self) -> None:
        """Nothing to close."""


def _require_thinking(trace: Trace) -> None:
    if not trace.thinking.strip():
        raise RecordError(
            f"{trace.id}: there is no thinking to split into steps; expected reasoning before </think>. "
            "Drop this trace, or sample it again.",
            reason="empty thinking",
        )
