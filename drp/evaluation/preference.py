"""From a judge's verdicts on two decompositions of the same traces to a win rate (paper, Appendix D).

Reads judge/NAME.jsonl (`Judgement` records), writes judge/NAME.summary.json:

    {"a": "paper-7b", "b": "sentence", "judge": "gemini-2.5-flash", "n": 50, "a_wins": 33, "b_wins": 17, "ties": 0,
     "win_rate": 0.66, "win_rate_ci": [0.512, 0.788], "p": 0.033, "position_bias": 0.0, ...}
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from drp.evaluation.statistics import SMALL_N, Interval, bootstrap_share, clopper_pearson, describe_sign_test, mcnemar
from drp.records import Judgement, Usage
from drp.runs.jsonl import read_records, write_atomically
from drp.runs.progress import write_dollars

SUMMARY_SUFFIX = ".summary.json"
_POINTS = {"a": 1.0, "b": 0.0, "tie": 0.5}


class Preference(BaseModel):
    """Which of two decompositions, a or b, a judge prefers. A share is None if there are no pairs to take it of."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    a: str
    b: str
    judge: str
    """The model's name; several names if the file holds the verdicts of several models."""
    n: int
    """Pairs judged."""
    problems: int
    """Problems that the pairs come from."""
    a_wins: int
    """Pairs in which a was preferred in both orders."""
    b_wins: int
    """Pairs in which b was preferred in both orders."""
    ties: int
    """All other pairs."""
    win_rate: float | None
    """a's share of the pairs with a winner."""
    win_rate_ci: Interval | None
    """95%: Clopper and Pearson's exact interval."""
    p: float
    """Exact two-sided sign test of a_wins against b_wins."""
    win_rate_with_ties: float | None
    """a's share of all pairs, counting a tie as half a win."""
    win_rate_with_ties_ci: Interval | None
    """95%: bootstrap over problems."""
    position_first: int
    """Ties in which the decomposition shown first was preferred in both orders."""
    position_second: int
    """Ties in which the one shown second was preferred in both orders."""
    position_bias: float | None
    """Share of the pairs that are such ties."""
    steps_a: float | None
    """Mean number of steps in a's decomposition of a trace."""
    steps_b: float | None
    usage: Usage
    """What the judge used."""
    warnings: list[str]
    """Reasons to be careful with these figures."""

    def describe(self) -> str:
        """The result in one line."""
        counts = f"{self.a} preferred in {self.a_wins} of {self.n} pairs, {self.b} in {self.b_wins}, ties {self.ties}"
        if self.win_rate is None or self.win_rate_ci is None:
            return counts
        low, high = (f"{100 * end:.1f}" for end in self.win_rate_ci)
        rate = f"win rate {100 * self.win_rate:.1f}% ({low} to {high}, p = {self.p:.2g})"
        position = f"decided by position {100 * (self.position_bias or 0):.1f}%"
        return f"{counts}; {rate}; {position}; cost {write_dollars(self.usage.cost_usd)}"


def write_preference(target: Path, a: str, b: str, seed: int = 0) -> tuple[Preference, Path]:
    """Write NAME.summary.json beside the verdicts in `target`; return the summary and its path.

    a, b: what the decompositions are called. seed: of the bootstrap. Raises InputError on an unreadable line.
    """
    fix = "correct the line, or run `drp judge` again with --overwrite"
    preference = summarize(read_records(target, Judgement, "raise", fix=fix), a, b, seed)
    path = target.with_name(f"{target.stem}{SUMMARY_SUFFIX}")
    write_atomically(path, lambda draft: draft.write_text(preference.model_dump_json(indent=2) + "\n"))
    return preference, path


def summarize(judgements: Iterable[Judgement], a: str = "a", b: str = "b", seed: int = 0) -> Preference:
    """Summarise judgements, which are read once, as a stream. seed: of the bootstrap."""
    count = _JudgementCounts()
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


@dataclass
class _JudgementCounts:
    """Running totals over judgements, so that the judgements need not be kept."""

    wins: Counter[str] = field(default_factory=Counter)
    """By winner: a, b, tie."""
    positions: Counter[str | None] = field(default_factory=Counter)
    """By `followed_position`."""
    points: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Problem id -> a's points in each of its pairs."""
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


def followed_position(judgement: Judgement) -> str | None:
    """`first` or `second` if the judge preferred that position in both orders; else None."""
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
            f"{n} pairs come from {problems} problems; p and win_rate_ci treat them as independent, "
            "win_rate_with_ties_ci does not"
        )
    if own:
        yield f"{', '.join(sorted(own))} judges its own decompositions; set judge.teacher to another model"
