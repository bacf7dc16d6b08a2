r"""What each pass and word list of the offline teacher gives: all are on, then each in turn is switched off.

    drp import real.jsonl --output real/traces.jsonl --answer reference
    python scripts/check/rules_passes.py real/traces.jsonl runs/demo/traces.jsonl --tokenizer data/tiny/model

Takes the traces whose answer is right, as `drp decompose` does, and prunes them with the teacher that is not asked
anything. Prints a table for each file:

    thinking, response   tokens saved, mean over the traces, in percent of the trace; --tokenizer counts them, without
                         one a token is 4 characters
    answers              answer segments that are still graded as right
    accepted             prunings that pass the checks of `drp prune`; kept: traces with nothing to prune
    founded              traces whose simple equations (a + b = c) all start from numbers that the question or the
                         pruned thinking before them has: a measure of too much pruning

The first line has the figures themselves, every other line the differences that the switch makes: a pass that saves
tokens has a negative number there, a rule that protects something a positive one.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from drp.config.sections import GradingSettings
from drp.grading import Grader
from drp.records import Decomposition, Trace
from drp.runs.jsonl import read_records
from drp.student.response import count_tokens, join_response, load_tokenizer
from drp.teachers.checks import SameAnswer, check_revision
from drp.teachers.numbers import find_quantities
from drp.teachers.rules import reading, rewriting, selection, teacher

NEVER = re.compile(r"(?!)")
EQUATION = re.compile(r"(?<![\d.])(\d[\d,.]*\d|\d) [-+*/×÷] (\d[\d,.]*\d|\d) = ")
Count = Callable[[str], int]
Switch = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Figures:
    """One row of a table; see the module's docstring."""

    thinking: float
    response: float
    answers: int
    accepted: int
    kept: int
    founded: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path, nargs="+", help="a traces.jsonl of `drp generate` or `drp import`")
    parser.add_argument("--tokenizer", help="a model folder; default: 4 characters a token")
    parser.add_argument("--limit", type=int, help="this many traces of each file, evenly spaced; default: all")
    parser.add_argument("--only", default="", help="only the switches whose name contains this")
    args = parser.parse_args()
    count: Count = partial(count_tokens, load_tokenizer(args.tokenizer)) if args.tokenizer else count_characters
    switches = {name: switch for name, switch in list_switches().items() if args.only in name}
    with Grader(GradingSettings()) as grader:
        for path in args.traces:
            sources = decompose(read_traces(path, args.limit))
            same_answer = cache(grader.same_answer)
            everything = measure(sources, count, same_answer)
            print(f"\n{path}: {len(sources)} traces with a right answer; tokens: {args.tokenizer or 'characters / 4'}")
            print(f"{'':44}{'thinking':>9}{'response':>9}{'answers':>9}{'accepted':>9}{'kept':>9}{'founded':>9}")
            print(f"{'everything on':44}" + "".join(f"{value:9.4g}" for value in astuple(everything)), flush=True)
            for name, switch in switches.items():
                with switch():
                    without = measure(sources, count, same_answer)
                changes = zip(astuple(without), astuple(everything), strict=True)
                print(f"{'without ' + name:44}" + "".join(f"{a - b:+9.3g}" for a, b in changes), flush=True)


def list_switches() -> dict[str, Switch]:
    """A context manager for each pass and word list, under which it does nothing."""
    switches: dict[str, Switch] = {
        "end at the answer": partial(patch.object, selection, "find_closing", lambda *_: None),
        **{f"pass {each.__name__}": _without(selection, "PASSES", each) for each in selection.PASSES},
        **{f"cues of {kind}": partial(patch.dict, reading.CUES, {kind: NEVER}) for kind in reading.CUES},
        "repeated computations as checks": partial(patch.object, reading, "is_check", lambda *_: False),
        "interjections dropped": partial(patch.object, rewriting, "strip_interjections", lambda text: text),
        "premise dropped": partial(patch.object, rewriting, "drop_premise", lambda text: text),
        "plans joined": partial(patch.object, rewriting, "join_plan", lambda *_: None),
        "all phrases": partial(patch.object, rewriting, "PHRASES", ()),
        "summary condensed": partial(patch.object, teacher, "condense_summary", lambda text, _: text.strip()),
    }
    for phrase in rewriting.PHRASES:
        switches[f"phrase {phrase[0].pattern[:36]}"] = _without(rewriting, "PHRASES", phrase)
    return switches


def _without(module: Any, name: str, member: object) -> Switch:
    """A switch that takes one member out of a tuple of the module."""
    return partial(patch.object, module, name, tuple(each for each in getattr(module, name) if each is not member))


def read_traces(path: Path, limit: int | None) -> list[Trace]:
    traces = [each for each in read_records(path, Trace, "raise") if each.correct and each.thinking.strip()]
    if not traces:
        sys.exit(f"{path}: no trace with a right answer; give a traces.jsonl of `drp generate` or `drp import`")
    return traces if limit is None else [traces[i * len(traces) // limit] for i in range(min(limit, len(traces)))]


def decompose(traces: Iterable[Trace]) -> list[Decomposition]:
    """The clauses do not depend on the steps, so that one decomposition serves every switch."""
    steps = ((trace, asyncio.run(teacher.RulesTeacher().decompose(trace))) for trace in traces)
    return [Decomposition(**dict(trace), steps=each.steps, teacher="rules", usage=each.usage) for trace, each in steps]


def measure(sources: Sequence[Decomposition], count: Count, same_answer: SameAnswer) -> Figures:
    outcomes = list(prune(sources, count, same_answer))
    saved_thinking, saved_response, answers, accepted, kept, founded = (
        sum(each) for each in zip(*outcomes, strict=True)
    )
    n = len(outcomes) / 100
    return Figures(saved_thinking / n, saved_response / n, int(answers), int(accepted), int(kept), int(founded))


def prune(
    sources: Sequence[Decomposition], count: Count, same_answer: SameAnswer
) -> Iterator[tuple[float, float, bool, bool, bool, bool]]:
    """For each trace the figures of which `Figures` has the sums."""
    for source in sources:
        revision = asyncio.run(teacher.RulesTeacher().prune(source))
        kept = revision.keeps_all(source)
        failed = not kept and check_revision(
            source, revision.edits, revision.thinking, revision.summary, count=count, same_answer=same_answer
        )
        before = join_response(source.thinking, source.summary)
        after = join_response(revision.thinking, revision.summary)
        yield (
            1 - count(revision.thinking) / count(source.thinking),
            1 - count(after) / count(before),
            same_answer(revision.summary, source.answer),
            not kept and not failed,
            kept,
            is_founded(source.question, revision.thinking),
        )


def is_founded(question: str, thinking: str) -> bool:
    return all(
        find_quantities(f"{match[1]} and {match[2]}") <= find_quantities(f"{question} {thinking[: match.start()]}")
        for match in EQUATION.finditer(thinking)
    )


def count_characters(text: str) -> int:
    return -(-len(text) // 4)


if __name__ == "__main__":
    main()
