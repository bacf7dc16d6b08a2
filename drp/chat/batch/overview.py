"""`drp batches`: lists the batches of a run directory, and cancels the open ones.

batch_68f0...  decompose  gpt-4o  1,200 requests  in_progress  410 done    2 failed  3h 10m
batch_68ee...  decompose  gpt-4o  3,000 requests  completed    2,998 done  2 failed  1d 2h   settled
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from drp.chat.batch.journal import LOST, Batch, read_batches
from drp.chat.batch.provider import NotFoundAtProvider
from drp.chat.batch.uploader import BatchUploader
from drp.chat.factory import open_uploader
from drp.chat.store import ReplyStore, StoredReply
from drp.config.sections import Config, TeacherSettings
from drp.errors import ConfigError, InputError
from drp.runs.progress import say
from drp.runs.rundir import RunDir

_MAX_POLL_S = 10.0
"""Between two polls of a batch that is being cancelled, which takes less time than a batch."""


def report_batches(config: Config, *, cancel: bool) -> str:
    """A table of the batches, the oldest first, after asking the provider for the status of the open ones.

    cancel: cancel the open batches first and store the replies that were done by then, which are paid for.
    Raises ConfigError if the configuration does not name the model of the open batches; with `cancel`, InputError if a
    stage is running that waits for them.
    """
    path = RunDir(config.run_dir).batches
    models = {batch.model for batch in read_batches(path) if not batch.is_settled}
    if models:
        for settings in _find_teachers(config, models):
            _ask_provider(config, settings, cancel)
    batches = read_batches(path)
    for batch in batches:
        if cancel and not batch.is_settled:
            say(f"batch {batch.name} was sent to {batch.model} at {batch.address}: cancel it with that configuration")
    return describe_batches(batches) if batches else f"no batches: {path} does not exist"


def _find_teachers(config: Config, models: Collection[str]) -> list[TeacherSettings]:
    """The settings of the configuration, the judge's among them, that may have sent batches of these models."""
    candidates = [settings for settings in (config.teacher, config.judge.teacher) if settings is not None]
    found = [settings for settings in candidates if settings.provider == "openai" and settings.model in models]
    if not found:
        configured = ", ".join(f"`{settings.model or settings.provider}`" for settings in candidates)
        raise ConfigError(
            f"{', '.join(sorted(models))} has open batches, but the configuration's teacher is {configured}: use the "
            "configuration with which they were sent"
        )
    return found


def _ask_provider(config: Config, settings: TeacherSettings, cancel: bool) -> None:
    # These replies have a batch's price, even if the configuration's mode is `direct` by now.
    settings = settings.model_copy(update={"mode": "batch"})
    try:
        store = ReplyStore(RunDir(config.run_dir).replies).open()
    except InputError as error:
        if cancel:
            raise
        say(f"{error}\nThe table shows the batches as the running stage last saw them.")
        return
    uploader = open_uploader(settings, store)
    asyncio.run(_cancel(uploader, settings.batch.poll_s) if cancel else _poll(uploader))


async def _poll(uploader: BatchUploader) -> None:
    try:
        await uploader.recover()
        for batch in uploader.list_open():
            await uploader.poll(batch)
    finally:
        await uploader.close()


async def _cancel(uploader: BatchUploader, poll_s: float) -> None:
    try:
        await uploader.recover()
        while batches := uploader.list_open():
            for batch in batches:
                await _cancel_batch(uploader, batch)
            if uploader.list_open():
                await asyncio.sleep(min(poll_s, _MAX_POLL_S))
    finally:
        await uploader.close()


async def _cancel_batch(uploader: BatchUploader, batch: Batch) -> None:
    """Cancel a batch, or fetch its results if it has ended."""
    try:
        batch = await uploader.cancel(batch)
        if batch.has_ended:
            n_replies = 0
            async for _, outcome in uploader.fetch(batch):
                n_replies += isinstance(outcome, StoredReply)
            say(f"batch {batch.name}: {n_replies} replies stored")
    except NotFoundAtProvider as error:
        say(f"{error}\nRemoved from the run.")
        uploader.settle(batch, LOST)


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
