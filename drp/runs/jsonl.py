"""JSONL files on disk: read, append, lock, and the other file operations of artifacts.

    for record in read_records(path, Trace):            a bad line becomes a Failure
    for record in read_records(path, Trace, "raise"):   a bad line raises InputError
    with lock(path), Appender(path) as file:
        file.append(record)

A record is one line, written together with its newline. A killed writer leaves at most one incomplete last line. When
an artifact is read, that line is skipped; before the next line is appended, it is cut off.
"""

import codecs
import errno
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, Self, TypeVar, overload

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from drp.credentials import scrub
from drp.errors import InputError
from drp.records import Failure

ModelT = TypeVar("ModelT", bound=BaseModel)

BadLine = Literal["yield", "raise", "skip"]
"""What a reader does with a line that is not JSON or does not fit the model:

    yield   Return it as a Failure with the id `FILE:LINE`. For the input of a stage, which counts it as failed.
    raise   Raise InputError. An incomplete last line is skipped: its writer is still running, or was killed.
    skip    Leave it out. For showing what there is.

With `yield`, a missing file raises InputError; with the others it has no records.
"""

_FIX = "correct the line, or start the stage again with --overwrite"
_BLOCK = 1 << 20

_RESUME = "all finished records are kept: free some space and run the same command again"
_MESSAGES = {
    errno.ENOSPC: f"no space left on the disk; {_RESUME}",
    errno.EDQUOT: f"the disk quota is used up; {_RESUME}",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only; choose another run_dir",
    errno.ENOENT: "no such file",
    errno.EISDIR: "expected a file, got a folder",
    errno.ENOTDIR: "expected a folder, got a file",
    errno.EEXIST: "expected a folder, got a file",
}


class FileLine(NamedTuple):
    """One line of a file, and where it is."""

    number: int
    """From 1."""
    offset: int
    """Of its first byte in the file."""
    data: bytes
    """With the newline."""


@overload
def read_records(path: Path, model: type[ModelT], on_bad: Literal["yield"] = "yield") -> Iterator[ModelT | Failure]: ...
@overload
def read_records(
    path: Path, model: type[ModelT], on_bad: Literal["raise", "skip"], *, fix: str = _FIX
) -> Iterator[ModelT]: ...
def read_records(path: Path, model: type[ModelT], on_bad: BadLine = "yield", *, fix: str = _FIX) -> Iterator[Any]:
    """Every line of a JSONL file as a `model`; blank lines are skipped.

    fix: what the error of `on_bad="raise"` advises. Raises InputError if the file cannot be read.
    """
    return (record for _, record in _read(path, model, on_bad, fix))


@overload
def read_lines(
    path: Path, model: type[ModelT], on_bad: Literal["yield"] = "yield"
) -> Iterator[tuple[FileLine, ModelT | Failure]]: ...
@overload
def read_lines(
    path: Path, model: type[ModelT], on_bad: Literal["raise", "skip"], *, fix: str = _FIX
) -> Iterator[tuple[FileLine, ModelT]]: ...
def read_lines(
    path: Path, model: type[ModelT], on_bad: BadLine = "yield", *, fix: str = _FIX
) -> Iterator[tuple[FileLine, Any]]:
    """As `read_records`, each record with its line."""
    return _read(path, model, on_bad, fix)


def _read(path: Path, model: type[ModelT], on_bad: BadLine, fix: str) -> Iterator[tuple[FileLine, Any]]:
    if on_bad != "yield" and not path.exists():
        return
    with explain_os_errors(path), _open(path) as file:
        offset = len(file.read(len(codecs.BOM_UTF8))) if file.peek(1).startswith(codecs.BOM_UTF8) else 0
        for number, data in enumerate(file, start=1):
            line = FileLine(number, offset, data)
            offset += len(data)
            if data.isspace():
                continue
            try:
                record = model.model_validate_json(data)
            except ValidationError as error:
                if on_bad == "yield":
                    yield line, _make_failure(f"{path.name}:{number}", error)
                elif on_bad == "raise" and data.endswith(b"\n"):
                    raise InputError(f"{path}:{number}: {_describe(error)}; {fix}") from None
            else:
                yield line, record


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The file as a buffered reader of bytes, decompressed if its name ends in .gz."""
    if path.suffix.lower() != ".gz":
        with path.open("rb", buffering=_BLOCK) as file:
            yield file
        return
    try:
        with gzip.open(path) as compressed:
            yield compressed
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None


def _make_failure(place: str, error: ValidationError) -> Failure:
    message = f"{place}: {_describe(error)}"
    return Failure(id=place, error="BadRecord", reason="unreadable line", message=message, attempts=1)


def _describe(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    if detail["type"] == "json_invalid":
        return f"not a line of JSON ({detail['ctx']['error']})"
    field = ".".join(str(part) for part in detail["loc"])
    return f"field `{field}`: {detail['msg']}" if field else f"not a record: {detail['msg']}"


class Appender:
    """Appends records to a JSONL file, each in one write. An incomplete last line is cut off when the file is opened.

    Credentials are removed (`drp.credentials`).

    truncate: start with an empty file. Raises InputError if the file cannot be written.
    """

    def __init__(self, path: Path, *, truncate: bool = False) -> None:
        self.path = path
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not truncate:
                repair_tail(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if truncate else 0)
            self._file = os.open(path, flags, 0o644)

    def append(self, record: BaseModel) -> None:
        data = memoryview(scrub(_encode(record)))
        with explain_os_errors(self.path):
            while data:
                data = data[os.write(self._file, data) :]

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _encode(record: BaseModel) -> bytes:
    try:
        return record.model_dump_json().encode() + b"\n"
    except ValueError:
        # A lone surrogate (half of a broken emoji) has no UTF-8 encoding: it is written as "?".
        plain = json.dumps(record.model_dump(mode="python"), ensure_ascii=False, default=str)
        return plain.encode(errors="replace") + b"\n"


def repair_tail(path: Path) -> int:
    """Cut off an incomplete last line. Returns the number of bytes removed; 0 if the file does not exist."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        kept = _find_end_of_last_line(file, end)
        file.truncate(kept)
    return end - kept


def _find_end_of_last_line(file: BinaryIO, end: int, block: int = 1 << 16) -> int:
    position = end
    while position > 0:
        start = max(0, position - block)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, so that one process writes it at a time. A lock ends with its process, however it ends.

    Raises InputError if another process holds it.
    """
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file_lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            file_lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{path}: another drp is writing this; wait for it, or choose another run_dir") from None
    try:
        yield
    finally:
        file_lock.release()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file, then rename it to `path`: readers see the old content or all of the new."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError on `path` into an InputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(describe_os_error(error, path)) from error


def describe_os_error(error: OSError, path: Path | None = None) -> str:
    """`FILE: what went wrong`. path: the file, if the error does not name it."""
    place = error.filename or path
    return f"{place}: {_MESSAGES.get(error.errno or 0, error.strerror or str(error))}"
