"""An estimate as text: a line a stage, the total, and beneath it what the figures rest on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from drp.chat.prices import Price
from drp.report.tables import Cell, Table, TableRow, number, write_text
from drp.runs.progress import write_dollars
from drp.teachers.llm.dialogue import Ask
from drp.teachers.llm.division import foresee_tokens


@dataclass(frozen=True)
class Line:
    """What a stage has still to do. None: not known, or nothing that this stage has.

    tokens: input and output of the teacher; for generate and eval what the student writes, for train what it reads.
    usd: what the teacher takes. notes: what the figures rest on.
    """

    stage: str
    records: int | None = None
    calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: float | None = None
    gpu_hours: float | None = None
    notes: Sequence[str] = ()


@dataclass
class Bill:
    """Requests as they add up. usd: None where the price is unknown. stored: those that a stored reply answers."""

    price: Price | None
    records: int = 0
    calls: int = 0
    stored: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = field(init=False)

    def __post_init__(self) -> None:
        self.usd = 0.0 if self.price else None

    def add(self, ask: Ask, times: int = 1) -> None:
        self.charge(foresee_tokens(ask.prompt), ask.output_tokens, times)

    def charge(self, n_input: int, n_output: int, times: int = 1) -> None:
        self.calls += times
        self.input_tokens += times * n_input
        self.output_tokens += times * n_output
        if self.price:
            # By the call, as providers do: some take more for a long request.
            self.usd = (self.usd or 0.0) + times * self.price(n_input, n_output)

    def write(self, stage: str, notes: Sequence[str] = ()) -> Line:
        return Line(stage, self.records, self.calls, self.input_tokens, self.output_tokens, self.usd, notes=notes)


def allow_for_reasks(bills: Sequence[Bill], share: float, n_complaint: int) -> Bill:
    """A further bill: a re-ask sends the prompt, the refused reply and what is wrong with it (`n_complaint` tokens)."""
    extra = Bill(bills[0].price)
    for bill in bills:
        times = round(share * bill.calls)
        if times:
            n_input, n_output = bill.input_tokens // bill.calls, bill.output_tokens // bill.calls
            extra.charge(n_input + n_output + n_complaint, n_output, times)
    return extra


_COLUMNS = ["Stage", "Records", "Calls", "Input tokens", "Output tokens", "Dollars", "GPU-hours"]


def write_estimate(lines: Sequence[Line], title: str, assumptions: Sequence[str]) -> str:
    rows = [TableRow([Cell(text) for text in _write_line(line)]) for line in [*lines, _add_up(lines)]]
    notes = [f"{line.stage}: {note}" for line in lines for note in line.notes]
    return write_text(Table("estimate", title, _COLUMNS, rows)) + "".join(
        f"\n- {note}" for note in [*notes, *assumptions]
    )


def _add_up(lines: Sequence[Line]) -> Line:
    """The teacher's calls, tokens and dollars, and all hours; what is unknown of a stage makes the sum unknown."""
    teaching = [line for line in lines if line.calls is not None]
    machines = [line for line in lines if line.calls is None]
    return Line(
        "total",
        calls=sum(line.calls or 0 for line in teaching),
        input_tokens=sum(line.input_tokens or 0 for line in teaching),
        output_tokens=sum(line.output_tokens or 0 for line in teaching),
        usd=_sum([line.usd for line in teaching]),
        gpu_hours=_sum([line.gpu_hours for line in machines]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _write_line(line: Line) -> list[str]:
    return [
        line.stage,
        number(line.records),
        number(line.calls),
        number(line.input_tokens),
        number(line.output_tokens),
        write_dollars(line.usd) if line.calls is not None else "–",
        number(line.gpu_hours, 2),
    ]


# FOLDED DOC of estimation.lines:
# One line of an estimate, and how requests add up to one.
