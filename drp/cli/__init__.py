"""The command line. A stage is imported inside its command, so that `--help` answers without torch or an SDK.

Exit status: 0 done; 1 finished, but more records failed than `max_failures` allows; 2 the user's mistake; 130
interrupted, all finished work kept.
"""

import os
import signal
import sys
from typing import Any, NoReturn

import typer

from drp.cli import stages, tools
from drp.cli.options import app
from drp.cli.stages import INTERRUPTED, PIPELINE

__all__ = ["PIPELINE", "app", "main", "stages", "tools"]


def main() -> NoReturn:
    """Run a command; turn errors into one message and an exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    # No stage may phone home or move a bar on stdout.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        status = app(standalone_mode=False)
        if status == INTERRUPTED:  # what Typer makes of a KeyboardInterrupt
            _exit("interrupted; all finished work is kept, the same command goes on from there", INTERRUPTED)
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


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _exit(message: str, status: int) -> NoReturn:
    print(f"drp: {message}", file=sys.stderr)
    sys.exit(status)
