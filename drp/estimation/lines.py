"""One line of an estimate, and how requests add up to one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from drp.chat.prices import Price
from drp.teachers.dialogue import Ask
from drp.teachers.replies.division import foresee_tokens


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
