"""What the student is pretrained on, and the problem files that ship beside it: all disjoint by question.

The problem files are drawn first, then the pretraining documents avoid every question in them. A seed is a string
"{seed} {set}", so the sets do not depend on one another's sizes, except through the questions that they must avoid.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from scripts.tiny.families import FAMILIES, HARDER_NUMBERS, TRAINED
from scripts.tiny.problems import BIG, SMALL, Numbers, Plan, Problem, draw, record
from scripts.tiny.traces import write_drill, write_response
from scripts.tiny.unseen import HARDER_STORIES, UNSEEN


@dataclass(frozen=True)
class ProblemSet:
    """One problem file, or a part of one: `source` tells parts of a file apart."""

    file: str
    source: str
    n: int
    plan: Plan
    numbers: Numbers


SETS = [
    ProblemSet("train", "tiny", 3000, TRAINED, SMALL),
    ProblemSet("dev", "tiny", 300, TRAINED, SMALL),
    ProblemSet("test", "tiny", 400, TRAINED, SMALL),
    ProblemSet("harder_dev", "tiny-harder-stories", 150, HARDER_STORIES, SMALL),
    ProblemSet("harder_dev", "tiny-harder-numbers", 150, HARDER_NUMBERS, BIG),
    ProblemSet("harder", "tiny-harder-stories", 200, HARDER_STORIES, SMALL),
    ProblemSet("harder", "tiny-harder-numbers", 200, HARDER_NUMBERS, BIG),
]


Row = tuple[dict[str, str], Problem]


def draw_sets(seed: int) -> tuple[dict[str, list[Row]], set[str]]:
    """Every file's records with the problems that they come from, and the questions used."""
    taken: set[str] = set()
    files: dict[str, list[list[tuple[str, Problem]]]] = {}
    for part in SETS:
        problems = draw(f"{seed} {part.file} {part.source}", part.plan, part.numbers, FAMILIES | UNSEEN, taken)
        files.setdefault(part.file, []).append([(part.source, problem) for problem in islice(problems, part.n)])
    return {name: number_rows(name, parts) for name, parts in files.items()}, taken


def number_rows(name: str, parts: list[list[tuple[str, Problem]]]) -> list[Row]:
    """The parts in turn, one problem of each, so that the first rows of a file are a fair sample of it."""
    mixed = [row for rows in zip(*parts, strict=True) for row in rows]
    prefix = f"tiny-{name.replace('_', '-')}"
    return [(record(problem, f"{prefix}-{i}", source), problem) for i, (source, problem) in enumerate(mixed)]


def write_sets(files: dict[str, list[Row]], folder: Path) -> None:
    for name, rows in files.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row, _ in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def write_documents(seed: int, n: int, taken: set[str], drills: float = 0.12) -> Iterator[tuple[str, str]]:
    """`n` pretraining documents, (question, response); a share of them is bare arithmetic."""
    rng = random.Random(f"{seed} documents")
    problems = draw(f"{seed} pretraining", TRAINED, SMALL, FAMILIES, set(taken))
    for _ in range(n):
        if rng.random() < drills:
            yield write_drill(rng)
        else:
            problem = next(problems)
            yield problem.question, write_response(rng, problem)
