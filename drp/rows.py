"""Rows of a data set as plain data, from local files and from the hub alike, through the `datasets` library.

read_rows(SourceSettings(name="mine", path="mine.jsonl"))  ->  {"question": "1+1?", "answer": "2"}, ...
"""

import glob
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from drp.artifacts import explain_os_errors
from drp.errors import InputError
from drp.settings import SourceSettings

Row = Mapping[str, Any]


def read_rows(source: SourceSettings) -> Iterator[Row | str]:
    """Rows as plain data; a line of a local file that is none, as a message that names its place.

    Raises InputError, while reading too, where there is no such file or data set.
    """
    if source.path is None:
        return _hub_rows(source)
    path = source.path
    if path.is_dir():
        # A copy of a hub repository.
        return _hub_rows(source)
    with explain_os_errors(path):
        path.open("rb").close()
    pattern = glob.escape(str(path.absolute()))
    if path.suffix in (".jsonl", ".ndjson"):
        lines = _load(source, "text", data_files=pattern, encoding="utf-8-sig", encoding_errors="replace")
        return _parse_lines((line["text"] for line in lines), str(path))
    if path.suffix in (".json", ".parquet"):
        return _load(source, path.suffix[1:], data_files=pattern)
    raise InputError(f"{path}: cannot read this kind of file; expected .jsonl, .json or .parquet")


def _parse_lines(lines: Iterable[str], path: str) -> Iterator[Row | str]:
    from pydantic_core import from_json

    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = from_json(line)
        except ValueError as error:
            yield f"{path}:{number}: not a line of JSON ({error})"
        else:
            yield row if isinstance(row, dict) else f"{path}:{number}: expected an object with named columns"


def _hub_rows(source: SourceSettings) -> Iterator[Row]:
    return _load(source, str(source.path or source.dataset), name=source.config, split=source.split or "train")


def _load(source: SourceSettings, builder: str, split: str = "train", **options: Any) -> Iterator[Row]:
    """Rows of `datasets.load_dataset`. Local files are streamed, so a changed one is read anew; what comes from the hub
    is kept in the library's cache, where later runs find it without a network."""
    with _explain(source, builder):
        import datasets

        with _quiet(datasets):
            loaded = datasets.load_dataset(builder, split=split, streaming=source.path is not None, **options)
        yield from loaded


@contextmanager
def _explain(source: SourceSettings, builder: str) -> Iterator[None]:
    """Whatever `datasets` raises (its builders raise all kinds of errors) as an InputError that says what to do."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:300] or type(cause).__name__
        if source.path is not None:
            raise InputError(f"{source.path}: cannot be read: {reason}") from error
        raise InputError(
            f"problems `{source.name}`: cannot load {builder} from the hub: {reason}. Without a network, give the "
            f"source a `path`; `python scripts/fetch_benchmarks.py` writes the known ones to data/benchmarks/ where "
            "there is one"
        ) from error


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    bars_were_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not bars_were_off:
            datasets.enable_progress_bars()
