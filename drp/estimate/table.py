"""The estimate as text: one line per stage, the total, and the assumptions below.

Still to do for runs/demo
Stage         Records  Calls  Input tokens  Output tokens  Dollars  GPU-hours
------------  -------  -----  ------------  -------------  -------  ---------
decompose       1,200  1,200     2,104,000        180,000    $7.06          –
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from drp.chat.prices import Price
from drp.report.tables import Cell, Table, TableRow, number, write_text
from drp.runs.progress import write_dollars


@dataclass(frozen=True)
class StageEstimate:
    """What one stage has still to do. None: unknown, or a figure that the stage does not have."""

    stage: str
    records: int | None = None
    calls: int | None = None
    input_tokens: int | None = None
    """Input of the teacher; for train, the tokens trained on."""
    output_tokens: int | None = None
    """Output of the teacher; for generate and eval, of the student."""
    usd: float | None = None
    """Cost of the teacher, in US dollars."""
    gpu_hours: float | None = None
    notes: Sequence[str] = ()
    """What the figures are based on."""


@dataclass
class RequestTotals:
    """Sums over the requests of a stage."""

    price: Price | None
    """None if unknown."""
    records: int = 0
    calls: int = 0
    stored: int = 0
    """Further requests that a stored reply answers at no cost."""
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = field(init=False)
    """None if the price is unknown."""

    def __post_init__(self) -> None:
        self.usd = 0.0 if self.price else None

    def add_tokens(self, n_input: int, n_output: int, times: int = 1) -> None:
        """Add `times` requests of this size."""
        self.calls += times
        self.input_tokens += times * n_input
        self.output_tokens += times * n_output
        if self.price:
            # Priced call by call, because some providers charge more per token for long requests.
            self.usd = (self.usd or 0.0) + times * self.price(n_input, n_output)

    def to_estimate(self, stage: str, notes: Sequence[str] = ()) -> StageEstimate:
        return StageEstimate(
            stage, self.records, self.calls, self.input_tokens, self.output_tokens, self.usd, notes=notes
        )


def expect_reasks(stages: Sequence[RequestTotals], share: float, n_complaint: int) -> RequestTotals:
    """The expected re-asks, a share of all calls.

    A re-ask sends the prompt, the rejected reply and what is wrong with it (`n_complaint` tokens).
    """
    reasks = RequestTotals(stages[0].price)
    for totals in stages:
        times = round(share * totals.calls)
        if times:
            n_input, n_output = totals.input_tokens // totals.calls, totals.output_tokens // totals.calls
            reasks.add_tokens(n_input + n_output + n_complaint, n_output, times)
    return reasks


_COLUMNS = ["Stage", "Records", "Calls", "Input tokens", "Output tokens", "Dollars", "GPU-hours"]


def format_estimate(
    stages: Sequence[StageEstimate], title: str, assumptions: Sequence[str], gpu_usd_per_hour: float
) -> str:
    """The table of all stages with their total, then the notes and assumptions as a list."""
    total = _add_up(stages)
    rows = [TableRow([Cell(text) for text in _format_cells(stage)]) for stage in [*stages, total]]
    notes = [f"{stage.stage}: {note}" for stage in stages for note in stage.notes]
    if total.gpu_hours and gpu_usd_per_hour:
        price = f"{write_dollars(total.gpu_hours * gpu_usd_per_hour)} at ${gpu_usd_per_hour:g} an hour"
        notes.append(f"the dollars above are the teacher's; the GPU-hours cost {price} (report.gpu_usd_per_hour)")
    table = write_text(Table("estimate", title, _COLUMNS, rows))
    return table + "".join(f"\n- {note}" for note in [*notes, *assumptions])


def _add_up(stages: Sequence[StageEstimate]) -> StageEstimate:
    """The total of the teacher's calls, tokens and dollars, and of all hours; a sum with an unknown part is unknown."""
    teaching = [stage for stage in stages if stage.calls is not None]
    machines = [stage for stage in stages if stage.calls is None]
    return StageEstimate(
        "total",
        calls=sum(stage.calls or 0 for stage in teaching),
        input_tokens=sum(stage.input_tokens or 0 for stage in teaching),
        output_tokens=sum(stage.output_tokens or 0 for stage in teaching),
        usd=_sum([stage.usd for stage in teaching]),
        gpu_hours=_sum([stage.gpu_hours for stage in machines]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _format_cells(stage: StageEstimate) -> list[str]:
    return [
        stage.stage,
        number(stage.records),
        number(stage.calls),
        number(stage.input_tokens),
        number(stage.output_tokens),
        write_dollars(stage.usd) if stage.calls is not None else "–",
        number(stage.gpu_hours, 2),
    ]
