"""What the stages of a run cost, and after how many questions the tokens that its model saves have paid for it.

Takes seconds, records, and the teacher's calls, tokens and dollars from the manifests of a run directory; the prices of
GPU hours and of generated tokens from the configuration (`report.*`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drp.config.sections import ReportSettings
from drp.records import Usage
from drp.report.results import BASE, HEADLINE_POLICY, Evaluation
from drp.report.run import ArtifactManifest
from drp.report.tables import EMPTY, Cell, ColumnGroup, Table, TableRow, number
from drp.runs.progress import write_dollars

ONE_OFF_STAGES = ("generate", "decompose", "prune", "train")
"""Stages that make the model. Benchmarks and judges are not counted: they measure it."""

GPU_STAGES = ("generate", "train")
"""Those of them that occupy the GPUs."""


@dataclass(frozen=True)
class ModelCost:
    """The one-off cost of making a model: teacher and GPUs."""

    usage: Usage
    """Of the teacher."""
    seconds: float
    gpu_hours: float
    stages: Sequence[str]
    """Those of ONE_OFF_STAGES that ran in the run directory."""
    dollars: float | None
    """Teacher and GPUs together; None if the teacher's price is unknown."""

    @classmethod
    def of(cls, manifests: Sequence[ArtifactManifest], prices: ReportSettings) -> "ModelCost":
        """Add up the stages that ran in the run directory. Imported traces, for example, cost nothing here."""
        once = [one for one in manifests if one.manifest.stage in ONE_OFF_STAGES]
        usage = _add_usage(once)
        hours = prices.gpus * sum(one.manifest.seconds for one in once if one.manifest.stage in GPU_STAGES) / 3600
        return cls(
            usage=usage,
            seconds=sum(one.manifest.seconds for one in once),
            gpu_hours=hours,
            stages=[stage for stage in ONE_OFF_STAGES if stage in {one.manifest.stage for one in once}],
            dollars=None if usage.cost_usd is None else usage.cost_usd + hours * prices.gpu_usd_per_hour,
        )


def _add_usage(manifests: Iterable[ArtifactManifest]) -> Usage:
    return sum((one.usage for one in manifests if one.usage is not None), Usage(cost_usd=0.0))


def costs_table(manifests: Sequence[ArtifactManifest]) -> Table | None:
    """Records, time and cost of each artifact; None if there are no manifests."""
    if not manifests:
        return None
    seconds = sum(one.manifest.seconds for one in manifests)
    dollars = _add_usage(manifests).cost_usd
    total = ["total", "", "", "", describe_seconds(seconds), "", "", "", write_dollars(dollars)]
    return Table(
        key="cost",
        texts=2,
        title="Time and cost",
        columns=["Artifact", "State", "Records", "Failed", "Time", "Calls", "Tokens in", "Tokens out", "Dollars"],
        rows=[
            *(_costs_row(one) for one in manifests),
            TableRow([Cell(text) for text in total], emphasis=True),
        ],
    )


def _costs_row(one: ArtifactManifest) -> TableRow:
    manifest, usage = one.manifest, one.usage
    used = ["", "", "", ""]
    if usage is not None:
        counts = (usage.calls, usage.input_tokens, usage.output_tokens)
        used = [*(number(count) for count in counts), write_dollars(usage.cost_usd)]
    return TableRow(
        [
            Cell(one.artifact),
            Cell(manifest.state),
            Cell(number(manifest.counts.written)),
            Cell(number(manifest.counts.failed)),
            Cell(describe_seconds(manifest.seconds)),
            *(Cell(text) for text in used),
        ]
    )


def describe_seconds(seconds: float) -> str:
    """Such as `48 s`, `7 min 20 s`, `3 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def break_even_table(
    manifests: Sequence[ArtifactManifest], evaluation: Evaluation | None, prices: ReportSettings
) -> Table | None:
    """After how many questions the model has paid for itself; None if it was not compared with the base."""
    if evaluation is None:
        return None
    cost = ModelCost.of(manifests, prices)
    rows = [
        TableRow([Cell(benchmark), Cell(_describe_saving(saved)), *_break_even_cells(cost.dollars, saved, prices)])
        for benchmark in evaluation.benchmarks
        if (saved := _tokens_saved(evaluation, benchmark)) is not None
    ]
    if not rows:
        return None
    stages = " and ".join(stage for stage in GPU_STAGES if stage in cost.stages) or "no stage"
    return Table(
        key="break-even",
        title="Break-even",
        columns=["Benchmark", "per million questions", *(f"${price:g}" for price in prices.token_usd_per_million)],
        groups=[
            ColumnGroup("", 1),
            ColumnGroup("Tokens saved", 1),
            ColumnGroup("Questions, at a price per million tokens of", len(prices.token_usd_per_million)),
        ],
        rows=rows,
        caption=(
            "Number of questions after which the tokens saved are worth the cost of making the model: the teacher "
            f"({write_dollars(cost.usage.cost_usd)}) and {cost.gpu_hours:,.2f} GPU hours ({stages}, on {prices.gpus} "
            f"GPU{'s' * (prices.gpus > 1)}) at ${prices.gpu_usd_per_hour:g} per GPU hour. The prices are assumptions, "
            "set by report.gpu_usd_per_hour and report.token_usd_per_million; report.gpus sets the number of GPUs. "
            f"Tokens are counted under the policy {HEADLINE_POLICY}."
        ),
    )


def _tokens_saved(evaluation: Evaluation, benchmark: str) -> float | None:
    """Tokens per question that the headline's model saves; None if it or the base was not evaluated."""
    base = evaluation.score(BASE, benchmark)
    after = evaluation.score(evaluation.subject or "", benchmark)
    if base is None or after is None or base.mean_tokens is None or after.mean_tokens is None:
        return None
    return base.mean_tokens - after.mean_tokens


def _describe_saving(saved: float) -> str:
    """Tokens per million questions. saved: tokens per question."""
    return f"{number(saved)} million" if abs(saved) >= 10 else f"{number(saved, 1)} million"


def _break_even_cells(dollars: float | None, saved: float, prices: ReportSettings) -> list[Cell]:
    if dollars is None:
        return [EMPTY] * len(prices.token_usd_per_million)
    if saved <= 0:
        return [Cell("never")] * len(prices.token_usd_per_million)
    return [Cell(f"{_round_up(dollars / (saved * price / 1e6)):,}") for price in prices.token_usd_per_million]


def _round_up(questions: float) -> int:
    """To two significant digits, which is as exact as the assumed prices."""
    size = max(0, len(str(int(questions))) - 2)
    unit: int = 10**size
    return int(-(-questions // unit)) * unit
