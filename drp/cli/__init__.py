"""The command line.

options.py   the app, and the options that verbs share
stages.py    the verbs of the pipeline: generate, decompose, prune, train, eval, report
pipeline.py  run: all of them in order
tools.py     the other verbs

A verb imports its stage when it is called, so that `--help` needs neither torch nor an SDK.

Exit status: 0 done; 1 finished, but more records failed than `max_failures` allows; 2 the user's mistake; 130
interrupted, with all finished work kept.
"""

import os
import signal
import sys
from typing import Any, NoReturn

import typer

from drp.cli import pipeline, stages, tools  # importing them registers their verbs
from drp.cli.options import app
from drp.cli.pipeline import INTERRUPTED, PIPELINE

__all__ = ["PIPELINE", "app", "main", "pipeline", "stages", "tools"]


def main() -> NoReturn:
    """Run a command. Errors that are expected become one message on stderr and an exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    # No usage reports to the hub, and no warnings of tokenizers about forked processes.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        status = app(standalone_mode=False)
        if status == INTERRUPTED:  # Typer returns this status for a KeyboardInterrupt
            _exit("interrupted; all finished work is kept, and the same command resumes from there", INTERRUPTED)
        sys.exit(status)
    except Exception as error:
        from drp.errors import DrpError
        from drp.runs.jsonl import describe_os_error

        if isinstance(error, DrpError):
            _exit(str(error), error.exit_status)
        if isinstance(error, OSError) and error.errno:
            _exit(describe_os_error(error), 2)
        if not isinstance(error, typer.TyperException):
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(error.exit_code)


def _interrupt(*_: Any) -> None:
    """Treat SIGTERM as Ctrl-C, for which asyncio has a handler of its own while it runs."""
    signal.raise_signal(signal.SIGINT)


def _exit(message: str, status: int) -> NoReturn:
    from drp.credentials import scrub_message

    print(f"drp: {scrub_message(message)}", file=sys.stderr)
    sys.exit(status)
