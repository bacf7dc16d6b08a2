"""The error tree. A message names the place (`path:line`, record id, config key), expected against got, and the fix.

DrpError                 what a user of the command line may meet; the CLI prints it without a traceback
  UserError              the user's mistake; exit status 2
    ConfigError          the YAML or a --set
    InputError           a missing, stale or unreadable file
    MissingExtra         a package that is not installed
  TooManyFailures        a stage finished, with more failures than allowed; exit status 1
  RecordError            one record could not be worked on; counted, never fatal
"""


class DrpError(Exception):
    """Anything `drp` raises on purpose."""

    exit_status = 1


class UserError(DrpError):
    """Something that the user can put right; nothing was lost."""

    exit_status = 2


class ConfigError(UserError):
    """The configuration is wrong: the message names the key and the nearest right one."""


class InputError(UserError):
    """A file is missing, stale, unreadable or cannot be written."""


class MissingExtra(UserError):
    """An optional package is missing: the message is the pip command that brings it."""


class RecordError(DrpError):
    """One record failed. It goes to the failures file with its id and is tried again on the next run.

    attempts: how many times the work was tried.
    raw: the last raw reply of a model, when there was one.
    reason: two or three words, the same for every record that fails so, for the summary that ends a stage.
    """

    def __init__(self, message: str, *, attempts: int = 1, raw: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.raw = raw
        self.reason = reason


class TooManyFailures(DrpError):
    """The stage finished, but more records failed than the configuration's `max_failures` allows."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
