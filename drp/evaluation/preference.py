"""From a judge's verdicts to what they say of two decompositions (paper, Appendix D).

Reads judge/NAME.jsonl (`Judgement` records), writes judge/NAME.summary.json:

    {"a": "paper-7b", "b": "sentence", "judge": "gemini-2.5-flash", "n": 50, "a_wins": 33, "b_wins": 17, "ties": 0,
     "win_rate": 0.66, "win_rate_ci": [0.512, 0.788], "p": 0.033, "position_bias": 0.0, ...}
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from drp.errors import InputError
from drp.evaluation.statistics import SMALL_N, Interval, bootstrap_share, clopper_pearson, describe_sign_test, mcnemar
from drp.records import Failure, Judgement, Usage
from drp.runs.jsonl import read_records, write_atomically

SUFFIX = ".summary.json"
_POINTS = {"a": 1.0, "b": 0.0, "tie": 0.5}


class Preference(BaseModel):
    """Which of two decompositions, a or b, a judge prefers. None: there was nothing to take a share of."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    a: str
    b: str
    judge: str
    """The model; several, where the file holds the verdicts of several."""
    n: int
    """Pairs judged."""
    problems: int
    a_wins: int
    """Pairs in which a was preferred in both orders."""
    b_wins: int
    ties: int
    """Preferred in neither order, or not in both."""
    win_rate: float | None
    """a's share of the pairs that somebody won."""
    win_rate_ci: Interval | None
    """95%: Clopper and Pearson's exact interval."""
    p: float
    """Exact two-sided sign test: are wins as often a's as b's?"""
    win_rate_with_ties: float | None
    """a's share of all pairs, a tie counted as half a win."""
    win_rate_with_ties_ci: Interval | None
    """95%: bootstrap over problems."""
    position_first: int
    """Ties in which the version shown first was preferred, whichever it was."""
    position_second: int
    position_bias: float | None
    """Share of the pairs in which the verdict followed the position, first or second."""
    steps_a: float | None
    """Steps a trace."""
    steps_b: float | None
    usage: Usage
    warnings: list[str]
    """Why these figures may say less than they seem to."""


def write_preference(target: Path, a: str, b: str, seed: int = 0) -> tuple[Preference, Path]:
    """Write the summary beside a judge's verdicts; return it with its path. Raises InputError on an unreadable line."""
    preference = summarize(_read(target), a, b, seed)
    path = target.with_name(f"{target.stem}{SUFFIX}")
    write_atomically(path, lambda draft: draft.write_text(preference.model_dump_json(indent=2) + "\n"))
    return preference, path


def _read(target: Path) -> Iterator[Judgement]:
    for record in read_records(target, Judgement):
        if isinstance(record, Failure):
            raise InputError(f"{record.message}; mend the line, or run `drp judge` again with --overwrite")
        yield record


@dataclass
class _Count:
    """Judgements counted as they pass; of each, a number is kept. points: a's, by problem."""

    wins: Counter[str] = field(default_factory=Counter)
    positions: Counter[str | None] = field(default_factory=Counter)
    points: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    steps: Counter[str] = field(default_factory=Counter)
    judges: set[str] = field(default_factory=set)
    teachers: set[str] = field(default_factory=set)
    usage: Usage = field(default_factory=lambda: Usage(cost_usd=0.0))

    def add(self, judgement: Judgement) -> None:
        self.wins[judgement.winner] += 1
        self.positions[followed_position(judgement)] += 1
        self.points[judgement.id.rpartition("#")[0] or judgement.id].append(_POINTS[judgement.winner])
        self.steps.update(a=judgement.n_steps_a, b=judgement.n_steps_b)
        self.judges.add(judgement.judge)
        self.teachers |= {judgement.teacher_a, judgement.teacher_b}
        self.usage += judgement.usage


def summarize(judgements: Iterable[Judgement], a: str = "a", b: str = "b", seed: int = 0) -> Preference:
    """Count verdicts, which pass through as a stream."""
    count = _Count()
    for judgement in judgements:
        count.add(judgement)
    wins, positions, points, steps = count.wins, count.positions, count.points, count.steps
    n, decided = wins.total(), wins["a"] + wins["b"]
    return Preference(
        a=a,
        b=b,
        judge=", ".join(sorted(count.judges)),
        n=n,
        problems=len(points),
        a_wins=wins["a"],
        b_wins=wins["b"],
        ties=wins["tie"],
        win_rate=_share(wins["a"], decided),
        win_rate_ci=clopper_pearson(wins["a"], decided),
        p=mcnemar(wins["a"], wins["b"]),
        win_rate_with_ties=_share(wins["a"] + wins["tie"] / 2, n),
        win_rate_with_ties_ci=bootstrap_share(list(points.values()), seed),
        position_first=positions["first"],
        position_second=positions["second"],
        position_bias=_share(positions["first"] + positions["second"], n),
        steps_a=_share(steps["a"], n),
        steps_b=_share(steps["b"], n),
        usage=count.usage,
        warnings=list(_warn(decided, n, len(points), count.judges & count.teachers)),
    )


def followed_position(judgement: Judgement) -> str | None:
    """`first` or `second`, where that is what the judge preferred in both orders; else None."""
    places = {
        None if verdict.winner == "tie" else "first" if verdict.winner == verdict.first else "second"
        for verdict in judgement.verdicts
    }
    return places.pop() if len(places) == 1 else None


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _warn(decided: int, n: int, problems: int, own: set[str]) -> Iterator[str]:
    if decided < SMALL_N:
        yield describe_sign_test(decided)
    if problems < n:
        yield (
            f"{n} pairs come from {problems} problems; those of one problem are alike, which p and the interval of the "
            "win rate do not know: trust the bootstrap over problems"
        )
    if own:
        yield f"{', '.join(sorted(own))} judges steps of its own; name another model under judge.teacher"


def describe(preference: Preference) -> str:
    """The result in one line."""
    found = preference
    counts = f"{found.a} preferred in {found.a_wins} of {found.n} pairs, {found.b} in {found.b_wins}, ties {found.ties}"
    if found.win_rate is None or found.win_rate_ci is None:
        return counts
    low, high = (f"{100 * end:.1f}" for end in found.win_rate_ci)
    rate = f"win rate {100 * found.win_rate:.1f}% ({low} to {high}, p = {found.p:.2g})"
    cost = "unknown dollars" if found.usage.cost_usd is None else f"${found.usage.cost_usd:.2f}"
    return f"{counts}; {rate}; position decided {100 * (found.position_bias or 0):.1f}%; {cost}"
