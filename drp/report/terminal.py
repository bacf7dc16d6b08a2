"""`drp view`: a run's traces in the terminal.

Without an id, a line a trace:

    gsm8k-train-7#0       310 -> 120  −61%  Maya has 12 bags with 4 shells in each ...

With one: the question, each step with its skill and what was done with it, and the pruned response.

A trace is text that a model wrote: control characters and escape sequences are taken out before it reaches a terminal,
and it is never read as markup.
"""

import io
import shutil
import sys
from collections.abc import Iterable, Iterator
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drp.errors import InputError
from drp.records import Action, Decomposition, Edit, Failure, Pruning, Record, Trace
from drp.report.escaping import clean
from drp.report.run import furthest_traces
from drp.runs.jsonl import read_records
from drp.runs.rundir import RunDir

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

STAGES = ("traces", "steps", "pruned")

_STYLES = {Action.KEEP: "dim", Action.DELETE: "red", Action.REWRITE: "blue", Action.MERGE: "magenta"}


def view(run_dir: Path, id: str | None = None, *, width: int | None = None, color: bool | None = None) -> str:
    """A trace of a run as text for a terminal; without an id, a list of all.

    width: columns; None: the terminal's. color: None: where stdout is a terminal and NO_COLOR is not set.
    Raises InputError where there is no such run directory, no trace in it, or no such id.
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: no such run directory")
    columns = width or shutil.get_terminal_size((100, 24)).columns
    parts = _list_all(run_dir, columns) if id is None else _show_one(run_dir, id)
    return _render(parts, columns, color)


def _render(parts: Iterable["RenderableType"], width: int, color: bool | None) -> str:
    from rich.console import Console

    colored = sys.stdout.isatty() and "NO_COLOR" not in environ if color is None else color
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=colored, no_color=not colored, highlight=False, markup=False, emoji=False
    )
    for part in parts:
        console.print(part)
    return file.getvalue()


def _list_all(run_dir: Path, width: int) -> Iterator["RenderableType"]:
    shown = False
    for trace in furthest_traces(RunDir(run_dir)):
        shown = True
        yield _line(f"{clean(trace.id):<24}  {_describe_tokens(trace):<22}  {_flat(trace.question)}", width)
    for stage, failure in _failures(RunDir(run_dir)):
        shown = True
        yield _line(f"{clean(failure.id):<24}  failed in {stage}: {_flat(failure.message)}", width, "red")
    if not shown:
        raise InputError(f"{run_dir}: no traces yet; run `drp generate` or `drp import` first")


def _line(text: str, width: int, style: str = "") -> "Text":
    from rich.text import Text

    line = Text(text[: 4 * width], style=style)
    line.truncate(width, overflow="ellipsis")
    return line


def _describe_tokens(trace: Trace) -> str:
    before = "?" if trace.n_tokens is None else str(trace.n_tokens)
    if not isinstance(trace, Pruning):
        return before
    if trace.n_tokens_pruned is None or not trace.n_tokens:
        return f"{before} -> ?"
    change = 100 * (trace.n_tokens_pruned / trace.n_tokens - 1)
    return f"{before} -> {trace.n_tokens_pruned}  {change:+.0f}%"


def _flat(text: str) -> str:
    return " ".join(clean(text).split())


def _failures(rundir: RunDir) -> Iterator[tuple[str, Failure]]:
    for stage in STAGES:
        path = rundir.root / f"{stage}.failed.jsonl"
        if path.exists():
            yield from ((stage, record) for record in read_records(path, Failure))


def _find(path: Path, kind: type[Record], id: str) -> Any:
    if not path.exists():
        return None
    return next((record for record in read_records(path, kind) if record.id == id), None)


def _show_one(run_dir: Path, id: str) -> Iterator["RenderableType"]:
    rundir = RunDir(run_dir)
    trace: Trace | None = (
        _find(rundir.pruned, Pruning, id) or _find(rundir.steps, Decomposition, id) or _find(rundir.traces, Trace, id)
    )
    failures = [(stage, failure) for stage, failure in _failures(rundir) if failure.id == id]
    if trace is None and not failures:
        raise InputError(f"{run_dir}: no trace `{clean(id)}`; `drp view {run_dir}` lists them")
    if trace is not None:
        yield from _show_trace(trace)
    for stage, failure in failures:
        yield from _show_failure(stage, failure)


def _show_trace(trace: Trace) -> Iterator["RenderableType"]:
    from rich.text import Text

    yield _heading(clean(trace.id))
    yield Text(clean(trace.question) + "\n")
    verdict = {True: "right", False: "wrong", None: "not graded"}[trace.correct]
    answered = "nothing" if trace.predicted is None else clean(trace.predicted)
    yield Text(f"gold {clean(trace.answer)} · answered {answered}, {verdict} · {_describe_tokens(trace)} tokens\n")
    yield _heading("Original")
    yield from _show_steps(trace) if isinstance(trace, Decomposition) else [Text(clean(trace.thinking))]
    yield Text(f"\n{clean(trace.summary)}\n")
    if isinstance(trace, Pruning):
        yield _heading("Pruned")
        yield Text(f"{clean(trace.pruned_thinking)}\n\n{clean(trace.pruned_summary)}")


def _show_steps(trace: Decomposition) -> Iterator["RenderableType"]:
    """A table of the steps: number, skill, action, and the text, struck through where it went."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    edits = {source: edit for edit in (trace.edits if isinstance(trace, Pruning) else ()) for source in edit.sources}
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("#", justify="right", style="dim")
    table.add_column("skill", ratio=2, overflow="fold")
    table.add_column("action")
    table.add_column("step", ratio=7, overflow="fold")
    table.expand = True
    for index, step in enumerate(trace.steps):
        edit = edits.get(index)
        style = "" if edit is None else _STYLES[edit.action]
        action = Text("" if edit is None else edit.action.value, style=style)
        table.add_row(str(index), Text(clean(step.skill or "")), action, _show_step(step.text, index, edit))
    yield table


def _show_step(text: str, index: int, edit: Edit | None) -> "Text":
    from rich.text import Text

    kept = edit is None or edit.action is Action.KEEP
    shown = Text(clean(text).strip(), style="" if kept else "dim strike")
    if edit is not None and not kept and edit.text and index == edit.sources[0]:
        shown.append(f"\n-> {clean(edit.text).strip()}", style="not dim not strike")
    return shown


def _show_failure(stage: str, failure: Failure) -> Iterator["RenderableType"]:
    from rich.text import Text

    yield _heading(f"Failed: {clean(failure.id)} ({stage})")
    yield Text(f"{clean(failure.error)} after {failure.attempts} attempts: {clean(failure.message)}")
    if failure.raw:
        yield _heading("Last reply")
        yield Text(clean(failure.raw))


def _heading(text: str) -> "Text":
    from rich.text import Text

    return Text(text, style="bold underline")
