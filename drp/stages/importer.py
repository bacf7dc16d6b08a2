"""`drp import`: existing traces of any origin (JSONL, JSON, Parquet, a hub data set) -> traces.jsonl, graded.

drp import r1.jsonl --output runs/mine/traces.jsonl --answer reference --model deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B

{"id": "gsm8k-7", "question": "...", "reference": "... #### 18", "response": "First, ...</think>..."}
  -> Trace(id="gsm8k-7#0", answer="18", thinking="First, ...", correct=True, ...)
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from drp.config.sections import GradingSettings, SourceSettings
from drp.errors import InputError
from drp.grading import Grader
from drp.grading.answers import extract_gold
from drp.problems import DatasetRow, read_rows
from drp.records import Failure, Trace
from drp.runs.manifest import Counts
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.response import count_tokens, load_tokenizer, split_response


@dataclass(frozen=True)
class TraceColumns:
    """The names of the source's columns. id: None if it has none; traces are then named by their position."""

    question: str = "question"
    response: str = "response"
    answer: str = "answer"
    id: str | None = None


def run(
    source: SourceSettings,
    target: Path,
    columns: TraceColumns,
    model: str,
    tokenizer: str | None = None,
    options: RunOptions = RunOptions(),
) -> Counts:
    """Import `source` into `target`.

    model: the student that wrote the responses. tokenizer: the model whose tokenizer counts tokens; None: n_tokens is
    None. Raises InputError if the source cannot be read or lacks a column.
    """
    stage = Stage(
        name="import",
        target=target,
        inputs=[source.path] if source.path is not None and source.path.is_file() else [],
        fingerprint={
            "import": {**asdict(columns), "model": model, "tokenizer": tokenizer, "source": source.identity()}
        },
        read=partial(_read_traces, source, columns, model),
        work=partial(_grade_traces, tokenizer),
    )
    return run_stage(stage, options, max_failures=0)


def _read_traces(source: SourceSettings, columns: TraceColumns, model: str) -> Iterator[Trace | Failure]:
    """Every row as a trace that is not graded yet, or as a failure."""
    samples: Counter[str] = Counter()
    for position, row in enumerate(read_rows(source)):
        place = f"{source.name}-{position}"
        if isinstance(row, str):
            yield Failure(id=place, error="BadRecord", message=row, attempts=1)
            continue
        if position == 0:
            _check_columns(row, columns, source)
        yield _read_trace(row, place, columns, model, samples)


def _check_columns(row: DatasetRow, columns: TraceColumns, source: SourceSettings) -> None:
    for option, column in asdict(columns).items():
        if column is not None and column not in row:
            names = ", ".join(row)
            raise InputError(
                f"{source.path or source.dataset}: no column `{column}`; name one with --{option}: {names}"
            )


def _read_trace(
    row: DatasetRow, place: str, columns: TraceColumns, model: str, samples: Counter[str]
) -> Trace | Failure:
    texts = {field: _text(row.get(column)) for field, column in asdict(columns).items() if column is not None}
    if empty := [f"`{getattr(columns, field)}`" for field, text in texts.items() if not text.strip()]:
        return Failure(id=place, error="BadRecord", message=f"{place}: empty {', '.join(empty)}", attempts=1)
    gold = extract_gold(texts["answer"])
    if gold is None:
        message = f"{place}: no gold answer (after ####, in a box, or alone) in `{columns.answer}`"
        return Failure(id=place, error="BadRecord", message=message, attempts=1)
    problem_id = re.sub(r"#\d+$", "", texts.get("id", place))
    sample = samples[problem_id]
    samples[problem_id] += 1
    parts = split_response(texts["response"])
    return Trace(
        id=f"{problem_id}#{sample}",
        problem_id=problem_id,
        question=texts["question"],
        answer=gold,
        response=texts["response"],
        thinking=parts.thinking,
        summary=parts.summary,
        predicted=None,
        correct=None,
        finish_reason=None,
        n_tokens=None,
        model=model,
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _grade_traces(tokenizer_name: str | None, traces: Iterator[Trace]) -> Iterator[Trace]:
    """Each trace with its grade and, if there is a tokenizer, its number of tokens."""
    tokenizer = load_tokenizer(tokenizer_name) if tokenizer_name else None
    in_flight: dict[str, Trace] = {}

    def questions() -> Iterator[tuple[str, str, str]]:
        for trace in traces:
            in_flight[trace.id] = trace
            yield trace.id, trace.summary, trace.answer

    with Grader(GradingSettings()) as grader:
        for id, grade in grader.grade_stream(questions()):
            trace = in_flight.pop(id)
            n_tokens = count_tokens(tokenizer, trace.response) + 1 if tokenizer else None
            update = {"predicted": grade.predicted, "correct": grade.correct, "n_tokens": n_tokens}
            yield trace.model_copy(update=update)
