"""Load problems from benchmarks on the hub and from local files of rows: JSONL, CSV, and what `datasets` reads.

A known name has its hub data set, split, columns and row filter in `BENCHMARKS`; with `path` its rows are read from a
local file instead. A row that is not a problem (a broken line, no question, no gold answer, a duplicate id)
becomes a Failure that names its place.

    SourceSettings(name="gsm8k", limit=1)
      -> Problem(id="gsm8k-0", question="Janet's ducks lay ...", answer="18", source="gsm8k")
"""

import csv
import difflib
import glob
import heapq
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import RootModel

from drp.config.sections import Columns, SourceSettings
from drp.errors import InputError
from drp.grading.answers import extract_gold
from drp.records import Failure, Problem
from drp.runs.jsonl import explain_os_errors, read_records

DatasetRow = Mapping[str, Any]
"""One row of a data set, by column."""


@dataclass(frozen=True)
class Benchmark:
    """Where a known name is on the hub."""

    dataset: str
    split: str
    columns: Columns
    n_problems: int
    config: str | None = None
    belongs: Callable[[DatasetRow], bool] = bool
    """Whether a row of the data set belongs to the benchmark."""


def _of_year(marker: str) -> Callable[[DatasetRow], bool]:
    # Rows without a url, as in a local copy, are taken to belong to the benchmark.
    return lambda row: marker in str(row.get("url") or marker)


_SOLVED = Columns(question="question", answer="answer")
_STATED = Columns(question="problem", answer="answer")

BENCHMARKS = {
    "gsm8k-train": Benchmark("openai/gsm8k", "train", _SOLVED, 7473, config="main"),
    "gsm8k": Benchmark("openai/gsm8k", "test", _SOLVED, 1319, config="main"),
    "prm12k": Benchmark("nlile/hendrycks-MATH-benchmark", "train", _STATED, 12000),
    "math500": Benchmark("HuggingFaceH4/MATH-500", "test", _STATED, 500),
    "aime24": Benchmark("AI-MO/aimo-validation-aime", "train", _STATED, 30, belongs=_of_year("2024_AIME")),
    "amc23": Benchmark("AI-MO/aimo-validation-amc", "train", _STATED, 40, belongs=_of_year("2023_AMC")),
}

_PEEKED_ROWS = 100  # in which the columns are looked for
_KINDS = {
    ".jsonl": ".jsonl",
    ".ndjson": ".jsonl",
    ".jsonl.gz": ".jsonl",
    ".ndjson.gz": ".jsonl",
    ".json": ".json",
    ".csv": ".csv",
    ".tsv": ".tsv",
    ".parquet": ".parquet",
}
"""How a file is read, by the end of its name."""
STDIN = Path("/dev/stdin")
_SURROGATE = re.compile("[\udc80-\udcff]")
"""What Python makes of bytes that are not UTF-8."""


def load_problems(sources: Sequence[SourceSettings], seed: int) -> Iterator[Problem | Failure]:
    """Stream the problems of all sources, one source after the other.

    Ids are `{name}-{position}`, or `{name}-{value of the id column}`. `shuffle` sorts by a hash of seed and id, so that
    the order of two problems does not depend on the others. It keeps `limit` problems in memory; all if that is None.

    Raises InputError if a source cannot be read or lacks a column.
    """
    seen: set[str] = set()
    for source in sources:
        items = _read_source(source)
        for item in _shuffle(items, source.limit, seed) if source.shuffle else _take(items, source.limit):
            if item.id in seen:
                message = f"duplicate id {item.id!r}: ids must be unique over all sources, so give each its own name"
                yield Failure(id=item.id, error="DuplicateId", message=message, attempts=1)
            else:
                seen.add(item.id)
                yield item


def _take(items: Iterator[Problem | Failure], limit: int | None) -> Iterator[Problem | Failure]:
    n_problems = 0
    for item in items:
        yield item
        n_problems += isinstance(item, Problem)
        if n_problems == limit:
            return


def _shuffle(items: Iterator[Problem | Failure], limit: int | None, seed: int) -> Iterator[Problem | Failure]:
    failures: list[Failure] = []

    def problems() -> Iterator[Problem]:
        for item in items:
            if isinstance(item, Problem):
                yield item
            else:
                failures.append(item)

    def rank(problem: Problem) -> str:
        return sha256(f"{seed}:{problem.id}".encode()).hexdigest()

    chosen = heapq.nsmallest(limit, problems(), key=rank) if limit else sorted(problems(), key=rank)
    yield from failures
    yield from chosen


def _read_source(source: SourceSettings) -> Iterator[Problem | Failure]:
    known = BENCHMARKS.get(source.name)
    source = _locate(source, known)
    rows = read_rows(source)
    head = list(itertools.islice(rows, _PEEKED_ROWS))
    columns = _find_columns(source, known, [row for row in head if not isinstance(row, str)])
    position = 0
    for row in itertools.chain(head, rows):
        if known and not isinstance(row, str) and not known.belongs(row):
            continue
        yield _read_row(row, position, source.name, columns)
        position += 1


def _locate(source: SourceSettings, known: Benchmark | None) -> SourceSettings:
    """The source with the hub data set of its known name filled in, as far as the source itself does not say."""
    if known is not None:
        filled = {"dataset": source.dataset or known.dataset, "config": source.config or known.config}
        return source.model_copy(update={**filled, "split": source.split or known.split})
    if source.path is None and source.dataset is None:
        near = difflib.get_close_matches(source.name, BENCHMARKS, n=1)
        hint = f" (did you mean `{near[0]}`?)" if near else ""
        raise InputError(
            f"unknown problems `{source.name}`{hint}; known are {', '.join(BENCHMARKS)}. "
            "For your own, set `path` (a local file) or `dataset` (a name on the hub)"
        )
    return source


def _find_columns(source: SourceSettings, known: Benchmark | None, rows: list[DatasetRow]) -> Columns:
    """The configured columns, else the known ones if the rows have them, else `question` and `answer`."""
    has = list(dict.fromkeys(name for row in rows for name in row))
    columns = source.columns or (known.columns if known else Columns())
    defaults = Columns()
    if not source.columns and columns.question not in has and defaults.question in has:
        columns = defaults
    for key in ("question", "answer", "id"):
        column = getattr(columns, key)
        if rows and column is not None and column not in has:
            names = ", ".join(f"`{name}`" for name in has)
            raise InputError(
                f"{source.path or source.dataset or source.name}: no column `{column}`; it has {names}. "
                f"Set `columns: {{{key}: ...}}` of the source `{source.name}` to the one that holds the {key}"
            )
    return columns


def read_rows(source: SourceSettings) -> Iterator[DatasetRow | str]:
    """The rows of a data set; for a line of a local file that is not a row, a message that names its place.

    Raises InputError if there is no such file or data set, at once or while the rows are read.
    """
    if source.path is None:
        return _hub_rows(source)
    path = source.path
    if path.is_dir():  # a local copy of a hub repository
        return _hub_rows(source)
    with explain_os_errors(path):
        path.open("rb").close()
    kind = find_kind(path.name)
    if kind == ".jsonl" or path == STDIN:
        return _read_jsonl(path)
    if kind in (".csv", ".tsv"):
        return _read_csv(path, "\t" if kind == ".tsv" else ",")
    if kind:
        return _load(source, kind[1:], data_files=glob.escape(str(path.absolute())))
    raise InputError(f"{path}: cannot read this kind of file; expected {', '.join(_KINDS)}")


def find_kind(name: str) -> str | None:
    """How a file of rows is read, by the end of its name; None if it has no known one."""
    return next((kind for end, kind in _KINDS.items() if name.lower().endswith(end)), None)


class _JsonRow(RootModel[dict[str, Any]]):
    """A line of a JSONL file with any columns."""


def _read_jsonl(path: Path) -> Iterator[DatasetRow | str]:
    for row in read_records(path, _JsonRow):
        yield f"{path.parent}/{row.message}" if isinstance(row, Failure) else row.root


def _read_csv(path: Path, delimiter: str) -> Iterator[DatasetRow | str]:
    """Rows of texts: nothing is taken for a number, so that "007" stays as it is."""
    csv.field_size_limit(1 << 30)
    with explain_os_errors(path), path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                if None in row or None in row.values():
                    yield f"{path}:{rows.line_num}: {len(row)} columns expected, the row has fewer or more"
                elif any(_SURROGATE.search(f"{name}{value}") for name, value in row.items()):
                    yield f"{path}:{rows.line_num}: not UTF-8"
                else:
                    yield row
        except csv.Error as error:
            raise InputError(f"{path}:{rows.line_num}: not CSV: {error}") from None


def _hub_rows(source: SourceSettings) -> Iterator[DatasetRow]:
    return _load(source, str(source.path or source.dataset), name=source.config, split=source.split or "train")


def _load(source: SourceSettings, builder: str, split: str = "train", **options: Any) -> Iterator[DatasetRow]:
    """Rows of `datasets.load_dataset`.

    Local files are streamed and so read again after a change. Data sets of the hub are stored in the library's cache,
    from which later runs read them without a network.
    """
    with _explain(source, builder):
        import datasets

        with _quiet(datasets):
            loaded = datasets.load_dataset(builder, split=split, streaming=source.path is not None, **options)
        yield from loaded


@contextmanager
def _explain(source: SourceSettings, builder: str) -> Iterator[None]:
    """Turn any exception of `datasets`, whose builders raise all kinds, into an InputError that says what to do."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:300] or type(cause).__name__
        if source.path is not None:
            raise InputError(f"{source.path}: cannot be read: {reason}") from error
        raise InputError(
            f"problems `{source.name}`: cannot load {builder} from the hub: {reason}. Without a network, set the "
            "source's `path`; `python scripts/fetch_benchmarks.py`, run on a machine with a network, writes the known "
            "benchmarks to data/benchmarks/"
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


def _read_row(row: DatasetRow | str, position: int, name: str, columns: Columns) -> Problem | Failure:
    record_id = f"{name}-{position}" if columns.id is None else f"{name}-row-{position}"
    if isinstance(row, str):
        return Failure(id=record_id, error="BadRecord", message=row, attempts=1)
    own_id = re.sub(r"[^\w./:-]+", "_", _text(row.get(columns.id))) if columns.id else ""
    record_id = f"{name}-{own_id.removeprefix(name + '-')}" if own_id else record_id
    question, gold = _text(row.get(columns.question)), _text(row.get(columns.answer))
    answer = extract_gold(gold)
    if columns.id and not own_id:
        fault = f"row {position} has no id in the column `{columns.id}`"
    elif not question:
        fault = f"row {position} has no question in the column `{columns.question}`"
    elif not gold:
        fault = f"row {position} has no gold answer in the column `{columns.answer}`"
    elif answer is None:
        fault = f"no gold answer (after ####, in a box, or alone) in the column `{columns.answer}`: {gold[-80:]!r}"
    else:
        return Problem(id=record_id, question=question, answer=answer, source=name)
    return Failure(id=record_id, error="BadRecord", message=f"{record_id}: {fault}", attempts=1)


def _text(value: object) -> str:
    """The value as text; empty for anything else: a missing value (None, or NaN in Parquet) or a list of messages."""
    if isinstance(value, str | int) or (isinstance(value, float) and not math.isnan(value)):
        return str(value).strip()
    return ""
