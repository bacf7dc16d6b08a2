"""The training log, `log.jsonl`: one line an optimizer step, one a validation, continuous over kills.

{"id": "12", "step": 12, "epoch": 0.08, "loss": 0.71, "lr": 0.0007, "grad_norm": 0.9, "n_tokens": 2871, ...}
{"id": "12-validation", "step": 12, "epoch": 0.08, "validation_loss": 0.69, ...}
"""

from pathlib import Path

from drp.artifacts import Appender, explain_os_errors, repair_tail, scan
from drp.records import Record


class LogLine(Record):
    """A training line has `loss`, a validation line `validation_loss`; what a line does not know is None."""

    step: int
    epoch: float
    loss: float | None = None
    """Mean over the step's response tokens, in nats."""
    validation_loss: float | None = None
    """Mean over the validation examples' response tokens, in nats."""
    lr: float | None = None
    grad_norm: float | None = None
    """Before clipping."""
    n_tokens: int | None = None
    """Tokens of the step, prompts included, padding not."""
    n_response_tokens: int | None = None
    """Those that carried loss."""
    tokens_per_s: float | None = None
    """Of the step, prompts included."""
    seconds: float
    """Working time since the start of training, over all runs that it took."""


def read_log(path: Path) -> list[LogLine]:
    return [LogLine.model_validate(item) for item in scan(path)]


def rewind_log(path: Path, step: int) -> float:
    """Forget what came after `step`, which a resumed run will do again. Returns the working time up to there."""
    seconds, keep = 0.0, []
    with explain_os_errors(path):
        repair_tail(path)
    for line in read_log(path):
        if line.step <= step:
            keep.append(line)
            seconds = line.seconds
    draft = path.with_name(f".{path.name}")
    with Appender(draft, truncate=True) as file:
        for line in keep:
            file.append(line)
    draft.replace(path)
    return seconds
