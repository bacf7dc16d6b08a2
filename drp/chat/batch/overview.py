"""`drp batches`: the batches of a run directory, and an end to those under way.

batch_68f0...  decompose  gpt-4o  1,200 requests  in_progress  410 done    2 failed  3h 10m
batch_68ee...  decompose  gpt-4o  3,000 requests  completed    2,998 done  2 failed  1d 2h   settled
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from drp.chat.batch.courier import Courier
from drp.chat.batch.journal import LOST, Batch, read_batches
from drp.chat.batch.provider import NotThere
from drp.chat.factory import open_courier
from drp.chat.store import ReplyStore
from drp.config.sections import Config, TeacherSettings
from drp.errors import ConfigError, InputError
from drp.runs.progress import say
from drp.runs.rundir import RunDir

_POLL_S = 10.0
"""A cancelled batch ends soon."""


def report_batches(config: Config, *, cancel: bool) -> str:
    """A line a batch, the oldest first, after asking the provider about those under way.

    cancel: end those first, and store what was done by then: it is paid for. Raises InputError where a stage is running
    that waits for them.
    """
    path = RunDir(config.run_dir).batches
    models = {batch.model for batch in read_batches(path) if not batch.is_settled}
    if models:
        for settings in _find_teachers(config, models):
            _ask_provider(config, settings, cancel)
    batches = read_batches(path)
    for batch in batches:
        if cancel and not batch.is_settled:
            say(f"batch {batch.name} is of {batch.model} at {batch.address}: cancel it with that configuration")
    return describe_batches(batches) if batches else f"no batches: {path} does not exist"


def _find_teachers(config: Config, models: Collection[str]) -> list[TeacherSettings]:
    """Those of the configuration, the judge among them, that may have sent batches of these models."""
    candidates = [settings for settings in (config.teacher, config.judge.teacher) if settings is not None]
    found = [settings for settings in candidates if settings.provider == "openai" and settings.model in models]
    if not found:
        own = ", ".join(f"`{settings.model or settings.provider}`" for settings in candidates)
        raise ConfigError(
            f"batches of {', '.join(sorted(models))} are under way, and the configuration's teacher is {own}: name the "
            "configuration with which they were sent"
        )
    return found


def _ask_provider(config: Config, settings: TeacherSettings, cancel: bool) -> None:
    # Whatever mode the configuration has now, these replies have a batch's price.
    settings = settings.model_copy(update={"mode": "batch"})
    try:
        store = ReplyStore(RunDir(config.run_dir).replies).open()
    except InputError as error:
        if cancel:
            raise
        say(f"{error}\nIts journal says how far they are.")
        return
    courier = open_courier(settings, store)
    asyncio.run(_cancel(courier, settings.batch.poll_s) if cancel else _look(courier))


def describe_batches(batches: Sequence[Batch]) -> str:
    rows = [_describe(batch) for batch in batches]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _describe(batch: Batch) -> list[str]:
    return [
        batch.name,
        batch.stage or "-",
        batch.model,
        f"{batch.n_requests:,} requests",
        batch.status,
        f"{batch.n_completed:,} done",
        f"{batch.n_failed:,} failed",
        _describe_age(batch.created),
        "settled" if batch.is_settled else "",
    ]


def _describe_age(created: str) -> str:
    minutes = int((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds() // 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{days}d {hours}h" if days else f"{hours}h {minutes % 60}m" if hours else f"{minutes}m"


async def _look(courier: Courier) -> None:
    try:
        await courier.recover()
        for batch in courier.list_open():
            await courier.look(batch)
    finally:
        await courier.close()


async def _cancel(courier: Courier, poll_s: float) -> None:
    try:
        await courier.recover()
        while batches := courier.list_open():
            for batch in batches:
                await _end(courier, batch)
            if courier.list_open():
                await asyncio.sleep(min(poll_s, _POLL_S))
    finally:
        await courier.close()


async def _end(courier: Courier, batch: Batch) -> None:
    try:
        batch = await courier.cancel(batch)
        if batch.has_ended:
            before = len(courier.ledger.store)
            async for _ in courier.fetch(batch):
                pass
            say(f"batch {batch.name}: {len(courier.ledger.store) - before} replies stored")
    except NotThere as error:
        say(f"{error}\nStruck out.")
        courier.settle(batch, LOST)
