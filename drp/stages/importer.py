"""`drp import`: existing traces of any origin (JSONL, JSON, CSV, Parquet, a hub data set) -> traces.jsonl, graded.

drp import r1.jsonl --output runs/mine/traces.jsonl --answer reference --model deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B

{"id": "gsm8k-7", "question": "...", "reference": "... #### 18", "response": "First, ...</think>..."}
  -> Trace(id="gsm8k-7#0", answer="18", thinking="First, ...", correct=True, ...)

A response is a text, a list of texts (one trace each), a conversation, or a text with its reasoning in a column of its
own. A conversation is a list of messages, as OpenAI ({"role", "content"}) or ShareGPT ({"from", "value"}) write them.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
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
from drp.student.response import count_tokens, join_response, load_tokenizer, split_response, unify_tags

_CONVERSATIONS = ("messages", "conversations")
_USER, _ASSISTANT = {"user", "human"}, {"assistant", "gpt", "model"}
_REASONING = ("reasoning_content", "reasoning", "thinking")
"""Where chat APIs and their logs put the reasoning of an assistant's message."""


@dataclass(frozen=True)
class TraceColumns:
    """The names of the source's columns."""

    question: str = "question"
    response: str = "response"
    answer: str | None = None
    """The gold answer; None: `answer` if the source has such a column, else the traces are not graded."""
    id: str | None = None
    """Of the problem; None: traces are named by their position."""
    reasoning: str | None = None
    """The reasoning, if the response is only what follows it."""
    messages: str | None = None
    """A conversation that holds question and response; None: `messages` or `conversations`, in a source that has one of
    them and not the columns of question and response."""


def run(
    source: SourceSettings,
    target: Path,
    columns: TraceColumns,
    model: str,
    tokenizer: str | None = None,
    options: RunOptions = RunOptions(),
    max_failures: float = 0.0,
) -> Counts:
    """Import `source` into `target`.

    model: the student that wrote the responses. tokenizer: the model whose tokenizer counts tokens; None: n_tokens is
    None. max_failures: how many rows may fail; see `run_stage`. Raises InputError if the source cannot be read or lacks
    a column.
    """
    named = {option: column for option, column in asdict(columns).items() if column is not None}
    content = {"answer": "answer", "id": None, **named, "model": model, "tokenizer": tokenizer}
    stage = Stage(
        name="import",
        target=target,
        inputs=[source.path] if source.path is not None and source.path.is_file() else [],
        fingerprint={"import": {**content, "source": source.identity()}},
        read=partial(_read_traces, source, columns, model),
        work=partial(_grade_traces, tokenizer),
    )
    return run_stage(stage, options, max_failures)


def _read_traces(source: SourceSettings, columns: TraceColumns, model: str) -> Iterator[Trace | Failure]:
    """Every response as a trace that is not graded yet, and a failure for every row that cannot be read."""
    samples: Counter[str] = Counter()
    found: TraceColumns | None = None
    for position, row in enumerate(read_rows(source)):
        place = f"{source.name}-{position}"
        try:
            if isinstance(row, str):
                raise ValueError(row)
            found = found or _find_columns(row, columns, source)
            yield from _read_row(row, place, found, model, samples)
        except ValueError as error:
            yield Failure(id=place, error="BadRecord", message=f"{place}: {error}", attempts=1)


def _find_columns(row: DatasetRow, columns: TraceColumns, source: SourceSettings) -> TraceColumns:
    """The columns that the source has. Raises InputError if one is missing."""
    if columns.messages is None and not {columns.question, columns.response} & row.keys():
        columns = replace(columns, messages=next((name for name in _CONVERSATIONS if name in row), None))
    if columns.answer is None and "answer" in row:
        columns = replace(columns, answer="answer")
    of_response = {"question", "response"} if columns.messages else {"messages"}
    for option, column in asdict(columns).items():
        if column is not None and option not in of_response and column not in row:
            place = source.path or source.dataset
            raise InputError(f"{place}: no column `{column}`; name one with --{option}: {', '.join(row)}")
    return columns


def _read_row(row: DatasetRow, place: str, columns: TraceColumns, model: str, samples: Counter[str]) -> Iterator[Trace]:
    """The traces of a row. Raises ValueError, with what is wrong, before the first."""
    asked, answered = columns.messages or columns.question, columns.messages or columns.response
    question = _read_question(row.get(asked), f"`{asked}`")
    responses = _read_responses(row.get(answered), f"`{answered}`")
    if columns.reasoning:
        reasonings = _read_responses(row.get(columns.reasoning), f"`{columns.reasoning}`")
        if len(reasonings) != len(responses):
            raise ValueError(f"{len(reasonings)} texts of reasoning for {len(responses)} responses")
        responses = [join_response(*pair) for pair in zip(reasonings, responses, strict=True)]
    gold = _read_gold(row, columns.answer) if columns.answer else ""
    problem_id = re.sub(r"#\d+$", "", _read_text(row.get(columns.id), f"`{columns.id}`")) if columns.id else place
    for response in responses:
        sample = samples[problem_id]
        samples[problem_id] += 1
        parts = split_response(response)
        yield Trace(
            id=f"{problem_id}#{sample}",
            problem_id=problem_id,
            question=question,
            answer=gold,
            response=response,
            thinking=parts.thinking,
            summary=parts.summary,
            predicted=None,
            correct=None,
            finish_reason=None,
            n_tokens=None,
            model=model,
        )


def _read_gold(row: DatasetRow, column: str) -> str:
    gold = extract_gold(_read_text(row.get(column), f"`{column}`"))
    if gold is None:
        raise ValueError(f"no gold answer (after ####, in a box, or alone) in `{column}`")
    return gold


def _read_question(value: Any, column: str) -> str:
    """A question: a text, or the only message of the user in a conversation."""
    if not _is_conversation(value):
        return _read_text(value, column)
    asked = [message for message in value if _role(message) in _USER]
    if len(asked) != 1:
        raise ValueError(f"{column} has {len(asked)} messages of the user; expected one question")
    return _read_message(asked[0], column)


def _read_responses(value: Any, column: str) -> list[str]:
    """The responses in a text, a conversation, or a list of either."""
    if isinstance(value, list) and value and not _is_conversation(value):
        return [response for each in value for response in _read_responses(each, column)]
    if isinstance(value, dict) and _role(value):
        value = [value]
    if not _is_conversation(value):
        return [unify_tags(_read_text(value, column))]
    answers = [message for message in value if _role(message) in _ASSISTANT]
    if len(answers) != 1:
        raise ValueError(f"{column} has {len(answers)} messages of the assistant; expected one response")
    content = unify_tags(_read_message(answers[0], column))
    reasoning = next((answers[0][key] for key in _REASONING if answers[0].get(key)), None)
    return [content if reasoning is None else join_response(_read_text(reasoning, column), content)]


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and _role(each) for each in value)


def _role(message: dict[str, Any]) -> str:
    role = message.get("role", message.get("from"))
    return role if isinstance(role, str) else ""


def _read_message(message: dict[str, Any], column: str) -> str:
    """The text of a message, whose content may be a list of parts."""
    content = message.get("content", message.get("value"))
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(_read_text(part.get("text"), column) for part in content)
    return _read_text(content, column)


def _read_text(value: Any, column: str) -> str:
    """A text or a number as text. Raises ValueError for anything else, and for an empty text."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip():
        raise ValueError(f"empty {column}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        kind = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "no text"
        raise ValueError(f"{column} holds {kind}; expected text: {str(value)[:80]!r}")
    return str(value)


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
