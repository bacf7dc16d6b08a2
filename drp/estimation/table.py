"""An estimate as text: a line a stage, the total, and beneath it what the figures rest on."""

from collections.abc import Sequence

from drp.estimation.lines import Line
from drp.progress import write_dollars
from drp.reporting.tables import Cell, Row, Table, number, write_text

_COLUMNS = ["Stage", "Records", "Calls", "Input tokens", "Output tokens", "Dollars", "GPU-hours"]


def write_estimate(lines: Sequence[Line], title: str, assumptions: Sequence[str]) -> str:
    rows = [Row([Cell(text) for text in _write_line(line)]) for line in [*lines, _add_up(lines)]]
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
