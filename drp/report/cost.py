"""What a run cost, and after how many questions it has paid for itself.

Reads every NAME.manifest.json of a run directory (seconds, records, the teacher's calls, tokens and dollars). Prices of
machines and of generated tokens are the configuration's (`report.*`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drp.config.sections import ReportSettings
from drp.records import Usage
from drp.report.evaluation import BASE, HEADLINE, Evaluation
from drp.report.tables import Cell, Group, Row, Table, number
from drp.runs.manifest import Manifest, load_manifest

SUFFIX = ".manifest.json"

ONE_OFF = ("generate", "decompose", "prune", "train")
"""Stages that a deployed model needed once. Evaluation would have been there anyway."""

ON_GPU = ("generate", "train")
"""Those of them that hold a GPU; in the others a teacher works, which is paid for by itself."""


@dataclass(frozen=True)
class StageCost:
    artifact: str
    """Path within the run directory."""
    manifest: Manifest

    @property
    def dollars(self) -> float | None:
        """None: the teacher's price is unknown. 0 for stages without a teacher."""
        return 0.0 if self.usage is None else self.usage.cost_usd

    @property
    def usage(self) -> Usage | None:
        """What was paid for, failed records included; of the records written, where nothing more is known."""
        return self.manifest.paid or self.manifest.usage


def read_costs(root: Path) -> list[StageCost]:
    """Every manifest of a run directory, in the order in which the work began."""
    costs = []
    for path in sorted(root.rglob(f"*{SUFFIX}")):
        target = path.with_name(path.name.removesuffix(SUFFIX))
        manifest = load_manifest(target)
        if manifest is not None:
            costs.append(StageCost(target.relative_to(root).as_posix(), manifest))
    return sorted(costs, key=lambda cost: (cost.manifest.started, cost.artifact))


def find_student(costs: Sequence[StageCost]) -> str | None:
    """The student that the manifests name; None where none does."""
    found = (cost.manifest.fingerprint.get("student") for cost in costs)
    return next((str(student["model"]) for student in found if isinstance(student, dict) and "model" in student), None)


def total_dollars(costs: Sequence[StageCost]) -> float | None:
    """What the teacher took; None where the price of a part is unknown."""
    parts = [cost.dollars for cost in costs]
    return None if None in parts else sum(part for part in parts if part is not None)


@dataclass(frozen=True)
class Cost:
    """What a deployed model took, once: the teacher, and GPUs."""

    usage: Usage
    seconds: float
    gpu_hours: float
    stages: Sequence[str]
    dollars: float | None
    """Teacher and GPUs together; None where the teacher's price is unknown."""

    @classmethod
    def of(cls, costs: Sequence[StageCost], prices: ReportSettings) -> "Cost":
        """Of the stages that the run directory has; imported traces, say, have cost nothing that it knows of."""
        once = [cost for cost in costs if cost.manifest.stage in ONE_OFF]
        usage = sum((cost.usage for cost in once if cost.usage is not None), Usage(cost_usd=0.0))
        hours = prices.gpus * sum(cost.manifest.seconds for cost in once if cost.manifest.stage in ON_GPU) / 3600
        return cls(
            usage=usage,
            seconds=sum(cost.manifest.seconds for cost in once),
            gpu_hours=hours,
            stages=[stage for stage in ONE_OFF if stage in {cost.manifest.stage for cost in once}],
            dollars=None if usage.cost_usd is None else usage.cost_usd + hours * prices.gpu_usd_per_hour,
        )


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
                    Cell(describe_dollars(total_dollars(costs))),
                ],
                emphasis=True,
            ),
        ],
    )


def _cost_row(cost: StageCost) -> Row:
    manifest, usage = cost.manifest, cost.usage
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
            Cell("" if usage is None else describe_dollars(cost.dollars)),
        ]
    )


def describe_dollars(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.2f}"


def duration(seconds: float) -> str:
    """Such as `48 s`, `7 min 20 s`, `3 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def break_even_table(costs: Sequence[StageCost], evaluation: Evaluation | None, prices: ReportSettings) -> Table | None:
    """Teacher dollars and GPU hours against the tokens saved; None where nothing was compared."""
    if evaluation is None or evaluation.subject is None:
        return None
    cost = Cost.of(costs, prices)
    rows = []
    for benchmark in evaluation.benchmarks:
        saved = saved_per_question(evaluation, benchmark)
        if saved is not None:
            cells = _break_evens(cost.dollars, saved, prices)
            rows.append(Row([Cell(benchmark), Cell(_describe_saving(saved)), *cells]))
    if not rows:
        return None
    return Table(
        key="break-even",
        title="Break-even",
        columns=["Questions like", "saved per million", *(f"${price:g}" for price in prices.token_usd_per_million)],
        groups=[
            Group("", 1),
            Group("Tokens", 1),
            Group("Questions, by the price of a million tokens", len(prices.token_usd_per_million)),
        ],
        rows=rows,
        caption=_describe_assumptions(cost, prices),
    )


def _describe_assumptions(cost: Cost, prices: ReportSettings) -> str:
    stages = " and ".join(stage for stage in ON_GPU if stage in cost.stages) or "no stage"
    return (
        f"Questions after which the savings have paid for the teacher ({describe_dollars(cost.usage.cost_usd)}) and "
        f"{cost.gpu_hours:,.2f} GPU hours ({stages}, on {prices.gpus} GPU{'s' * (prices.gpus > 1)}). Assumed: "
        f"${prices.gpu_usd_per_hour:g} a GPU hour and the prices of generated tokens; report.gpus, "
        "report.gpu_usd_per_hour and report.token_usd_per_million set them. "
        f"Tokens are counted under the policy {HEADLINE}."
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


def _break_evens(spent: float | None, saved: float, prices: ReportSettings) -> list[Cell]:
    if spent is None:
        return [Cell("–")] * len(prices.token_usd_per_million)
    if saved <= 0:
        return [Cell("never", tone="bad")] * len(prices.token_usd_per_million)
    return [Cell(f"{_round_up(spent / (saved * price / 1e6)):,}") for price in prices.token_usd_per_million]


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
