"""What a run cost, and after how many questions it has paid for itself.

Reads every NAME.manifest.json of a run directory (seconds, records, the teacher's calls, tokens and dollars).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drp.manifest import Manifest, load_manifest
from drp.reporting.evaluation import BASE, HEADLINE, Evaluation
from drp.reporting.tables import Cell, Row, Table, number

SUFFIX = ".manifest.json"

USD_PER_MACHINE_HOUR = 2.0
"""Assumed, about what one rented A100 costs; the page says so beside each figure made from it."""

USD_PER_MILLION_TOKENS = (0.2, 0.6, 2.0)
"""Prices of generated tokens that the break-even is worked out for: assumed, from small to large models."""

ONE_OFF = ("generate", "decompose", "prune", "train")
"""Stages that a deployed model needed once. Evaluation would have been there anyway."""


@dataclass(frozen=True)
class StageCost:
    artifact: str
    """Path within the run directory."""
    manifest: Manifest

    @property
    def dollars(self) -> float | None:
        """None: the teacher's price is unknown. 0 for stages without a teacher."""
        return 0.0 if self.manifest.usage is None else self.manifest.usage.cost_usd


def read_costs(root: Path) -> list[StageCost]:
    """Every manifest of a run directory, in the order in which the work began."""
    costs = []
    for path in sorted(root.rglob(f"*{SUFFIX}")):
        target = path.with_name(path.name.removesuffix(SUFFIX))
        manifest = load_manifest(target)
        if manifest is not None:
            costs.append(StageCost(target.relative_to(root).as_posix(), manifest))
    return sorted(costs, key=lambda cost: (cost.manifest.started, cost.artifact))


def total_dollars(costs: Sequence[StageCost]) -> float | None:
    """What the teacher took; None where the price of a part is unknown."""
    parts = [cost.dollars for cost in costs]
    return None if None in parts else sum(part for part in parts if part is not None)


def one_off_seconds(costs: Sequence[StageCost]) -> float:
    return sum(cost.manifest.seconds for cost in costs if cost.manifest.stage in ONE_OFF)


def one_off_stages(costs: Sequence[StageCost]) -> list[str]:
    """Those that the run directory has; traces that were imported, say, have cost nothing that it knows of."""
    found = {cost.manifest.stage for cost in costs}
    return [stage for stage in ONE_OFF if stage in found]


def costs_table(costs: Sequence[StageCost]) -> Table | None:
    if not costs:
        return None
    seconds = sum(cost.manifest.seconds for cost in costs)
    return Table(
        key="cost",
        texts=2,
        title="Time and money",
        columns=["Artifact", "State", "Records", "Failed", "Time", "Calls", "Tokens in", "Tokens out", "Dollars"],
        rows=[
            *(_cost_row(cost) for cost in costs),
            Row(
                [
                    Cell("all"),
                    *[Cell("")] * 3,
                    Cell(duration(seconds)),
                    *[Cell("")] * 3,
                    _dollars(total_dollars(costs)),
                ],
                emphasis=True,
            ),
        ],
    )


def _cost_row(cost: StageCost) -> Row:
    manifest, usage = cost.manifest, cost.manifest.usage
    counts = manifest.counts
    used = (
        ["", "", ""]
        if usage is None
        else [number(usage.calls), number(usage.input_tokens), number(usage.output_tokens)]
    )
    return Row(
        [
            Cell(cost.artifact),
            Cell(manifest.state),
            Cell(number(counts.written)),
            Cell(number(counts.failed), tone="bad" if counts.failed else ""),
            Cell(duration(manifest.seconds)),
            *(Cell(text) for text in used),
            Cell("") if usage is None else _dollars(cost.dollars),
        ]
    )


def _dollars(value: float | None) -> Cell:
    return Cell("unknown" if value is None else f"${value:,.2f}")


def duration(seconds: float) -> str:
    """Such as `48 s`, `7 min 20 s`, `3 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def break_even_table(costs: Sequence[StageCost], evaluation: Evaluation | None) -> Table | None:
    """Teacher dollars and machine time against the tokens saved; None where nothing was compared."""
    if evaluation is None or evaluation.subject is None:
        return None
    dollars = total_dollars(costs)
    hours = one_off_seconds(costs) / 3600
    spent = None if dollars is None else dollars + hours * USD_PER_MACHINE_HOUR
    rows = []
    for benchmark in evaluation.benchmarks:
        saved = saved_per_question(evaluation, benchmark)
        if saved is not None:
            rows.append(Row([Cell(benchmark), Cell(_describe_saving(saved)), *_break_evens(spent, saved)]))
    teacher = "an unknown price" if dollars is None else f"${dollars:,.2f}"
    return Table(
        key="break-even",
        title="Break-even",
        columns=[
            "Questions like",
            "Tokens saved per million",
            *(f"at ${price:g} per million tokens" for price in USD_PER_MILLION_TOKENS),
        ],
        rows=rows,
        caption=(
            f"Questions after which the savings have paid for the teacher ({teacher}) and {duration(hours * 3600)} of "
            f"{', '.join(one_off_stages(costs)) or 'nothing'} at an assumed ${USD_PER_MACHINE_HOUR:g} a machine hour, "
            f"at assumed prices of generated tokens. Tokens under the policy {HEADLINE}."
        ),
    )


def saved_per_question(evaluation: Evaluation, benchmark: str) -> float | None:
    """Tokens that the headline's model saves a question; None where either was not evaluated."""
    base = evaluation.score(BASE, benchmark)
    after = evaluation.score(evaluation.subject or "", benchmark)
    if base is None or after is None or base.mean_tokens is None or after.mean_tokens is None:
        return None
    return base.mean_tokens - after.mean_tokens


def _describe_saving(saved: float) -> str:
    return f"{number(saved)} million" if abs(saved) >= 10 else f"{number(saved, 1)} million"


def _break_evens(spent: float | None, saved: float) -> list[Cell]:
    if spent is None:
        return [Cell("–")] * len(USD_PER_MILLION_TOKENS)
    if saved <= 0:
        return [Cell("never", tone="bad")] * len(USD_PER_MILLION_TOKENS)
    return [Cell(f"{_round_up(spent / (saved * price / 1e6)):,}") for price in USD_PER_MILLION_TOKENS]


def _round_up(questions: float) -> int:
    """To two significant digits: more would pretend to know."""
    size = max(0, len(str(int(questions))) - 2)
    unit: int = 10**size
    return int(-(-questions // unit)) * unit


def versions_of(costs: Sequence[StageCost]) -> dict[str, str]:
    """Package -> its version, or versions where stages ran with different ones."""
    found: dict[str, dict[str, None]] = {}
    for cost in costs:
        for package, version in cost.manifest.versions.items():
            found.setdefault(package, {})[version] = None
    return {package: ", ".join(versions) for package, versions in sorted(found.items())}
