"""Helpers to ask the loopback teacher in batches and to read the journal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drp.chat.batch.journal import Batch, read_batches
from drp.chat.wire import Reply
from drp.config.sections import BatchSettings
from tests.chat.conftest import Outcome, ask, open_teacher
from tests.loopback import LoopbackServer

BATCH = {"quiet_s": 0.05, "poll_s": 0.02}
QUESTIONS = [f"question {i:03}" for i in range(30)]
ANSWERS = [f"you said {question}" for question in QUESTIONS]


def ask_in_batches(server: LoopbackServer, path: Path, questions: Sequence[str], **changes: Any) -> list[Outcome]:
    """batch: keys of `teacher.batch`; the other keys are of `teacher`."""
    batch = BatchSettings(**{**BATCH, **changes.pop("batch", {})})
    return ask(lambda: open_teacher(server, path, mode="batch", batch=batch, **changes), questions)


def texts(outcomes: Sequence[Outcome]) -> list[str]:
    """The texts of the replies; fails the test if one is an error."""
    assert all(isinstance(outcome, Reply) for outcome in outcomes), outcomes
    return [outcome.text for outcome in outcomes if isinstance(outcome, Reply)]


def read_journal(path: Path) -> list[Batch]:
    """The batches of the run directory with these replies."""
    return read_batches(path.with_name("batches.jsonl"))
