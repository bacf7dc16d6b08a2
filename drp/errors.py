"""The error tree. A message names the place (`path:line`, record id, config key), expected against got, and the fix.

DrpError                 base class; the command line prints the message without a traceback
  UserError              something the user can correct; exit status 2
    ConfigError          the YAML or a --set
    InputError           a missing, stale or unreadable file
    MissingExtra         a package that is not installed
  TooManyFailures        a stage finished with more failures than allowed; exit status 1
  RecordError            one record could not be processed; counted, does not end the stage

A message is shown and stored without credentials (`drp.credentials`).
"""

from drp.credentials import scrub, scrub_message


class DrpError(Exception):
    """Base class of all exceptions that `drp` raises on purpose."""

    exit_status = 1

    def __init__(self, message: str) -> None:
        super().__init__(scrub_message(message))


class UserError(DrpError):
    """Something that the user can correct. Finished work is kept."""

    exit_status = 2


class ConfigError(UserError):
    """The configuration is wrong; the message names the key and, for an unknown one, the nearest known key."""


class InputError(UserError):
    """A file is missing, stale, unreadable or cannot be written."""


class MissingExtra(UserError):
    """An optional package is not installed; the message has the pip command that installs it."""


class RecordError(DrpError):
    """One record failed. It is written to the failures file and retried by the next run.

    attempts: how often it was tried. raw: the model's last raw reply, if there was one.
    reason: the cause in two or three words, for counting.
    """

    def __init__(self, message: str, *, attempts: int = 1, raw: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.raw = None if raw is None else scrub(raw)
        self.reason = reason


class RefusedReply(RecordError):
    """The teacher's replies about one record were withheld, cut off or failed a check. Replies are stored, so a rerun
    reads the same ones, unless it may ask more often (`teacher.max_reasks`)."""


class TooManyFailures(DrpError):
    """The stage finished, but more records failed than `max_failures` allows."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
