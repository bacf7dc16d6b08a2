"""JSONL on disk: read, append, repair, lock.

A record is one line, written whole. What a kill leaves of a last line is cut off before the next is appended, so a
file only ever holds whole records.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from drp.errors import InputError
from drp.records import Failure, Record

RecordT = TypeVar("RecordT", bound=Record)

_MESSAGES = {
    errno.ENOSPC: "no space left on the disk; all finished records are kept: make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up; all finished records are kept: make room and run the same command again",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only; choose another run_dir",
    errno.ENOENT: "no such file",
    errno.EISDIR: "this is a folder, a file was expected",
    errno.ENOTDIR: "a file stands where a folder was expected",
    errno.EEXIST: "a file stands where a folder was expected",
}


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError on `path` into an InputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(describe_os_error(error, path)) from error


def describe_os_error(error: OSError, path: Path | None = None) -> str:
    place = error.filename or path
    return f"{place}: {_MESSAGES.get(error.errno or 0, error.strerror or str(error))}"


def read_records(path: Path, model: type[RecordT]) -> Iterator[RecordT | Failure]:
    """Every line of a JSONL file as a record; one that is not becomes a Failure with the id `FILE:LINE`.

    Raises InputError where the file is missing or unreadable.
    """
    with explain_os_errors(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield read_record(line, model, f"{path.name}:{number}")


def read_record(line: bytes, model: type[RecordT], place: str) -> RecordT | Failure:
    try:
        return model.model_validate(from_json(line))
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in detail["loc"])
        message = f"{place}: field `{field}`: {detail['msg']}" if field else f"{place}: {detail['msg']}"
    except ValueError as error:
        message = f"{place}: not a line of JSON ({error})"
    return Failure(id=place, error="BadRecord", reason="unreadable line", message=message, attempts=1)


def scan(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of one of our own artifacts as plain data; nothing where the file does not exist yet. A last
    line that a kill has torn is no whole one."""
    if not path.exists():
        return
    with explain_os_errors(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                item = from_json(line)
            except ValueError:
                if not line.endswith(b"\n"):
                    return
                raise InputError(f"{path}:{number}: not a line of JSON; mend the line, or use --overwrite") from None
            if not isinstance(item, dict):
                raise InputError(f"{path}:{number}: not a record; mend the line, or use --overwrite")
            yield item


class Appender:
    """Appends records to a JSONL file, each in one write; repairs a torn last line when opened."""

    def __init__(self, path: Path, *, truncate: bool = False) -> None:
        self.path = path
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not truncate:
                repair_tail(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if truncate else 0)
            self._file = os.open(path, flags, 0o644)

    def append(self, record: BaseModel) -> None:
        data = memoryview(_encode(record))
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
        # Half of a broken emoji (a lone surrogate) cannot be UTF-8: it is written as "?" rather than lost.
        plain = json.dumps(record.model_dump(mode="python"), ensure_ascii=False, default=str)
        return plain.encode(errors="replace") + b"\n"


def repair_tail(path: Path) -> int:
    """Cut off a last line that was not written whole; return how many bytes went."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = _end_of_last_line(file, end)
        file.truncate(keep)
    return end - keep


def _end_of_last_line(file: Any, end: int, block: int = 1 << 16) -> int:
    position = end
    while position > 0:
        start = max(0, position - block)
        file.seek(start)
        newline: int = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold `path` for one writer; the lock dies with the process, so a kill leaves none behind."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        guard = FileLock(path.with_name(path.name + ".lock"))
        try:
            guard.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{path}: another drp is writing this; wait for it, or choose another run_dir") from None
    try:
        yield
    finally:
        guard.release()


def digest(path: Path, n_bytes: int | None = None) -> tuple[str, int, int]:
    """SHA-256 of the first `n_bytes` of a file (None: all), how many bytes that were, and how many lines."""
    total, lines, sha = 0, 0, hashlib.sha256()
    with explain_os_errors(path), path.open("rb") as file:
        while block := file.read(1 << 20 if n_bytes is None else min(1 << 20, n_bytes - total)):
            sha.update(block)
            total += len(block)
            lines += block.count(b"\n")
    return sha.hexdigest(), total, lines


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place, so that readers see all of it or nothing."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
