"""`drp view`: a run's traces in the terminal.

Without an id, one line for each trace:

    gsm8k-train-7#0       310 -> 120  -61%  Maya has 12 bags with 4 shells in each ...

With an id: the question, each step with its skill and action, and the pruned response.

A trace is text that a model wrote: control characters and escape sequences are removed from it, and it is never parsed
as markup.
"""

import io
import shutil
import sys
from collections.abc import Iterable, Iterator
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING

from drp.errors import InputError
from drp.records import Action, Decomposition, Edit, Failure, Pruning, Trace
from drp.report.escaping import strip_controls
from drp.report.run import read_failures, read_latest_traces, trace_files
from drp.runs.jsonl import read_records
from drp.runs.rundir import RunDir

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_STYLES = {Action.KEEP: "dim", Action.DELETE: "red", Action.REWRITE: "blue", Action.MERGE: "magenta"}
_VERDICTS = {True: "correct", False: "incorrect", None: "not graded"}


def view(run_dir: Path, id: str | None = None, *, width: int | None = None, color: bool | None = None) -> str:
    """One trace of a run, or a list of all of them, as text for a terminal.

    id: the trace; None: the list. width: in columns; None: the terminal's.
    color: None: if stdout is a terminal and NO_COLOR is not set.
    Raises InputError if the run directory, the trace or any trace at all is missing.
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: no such run directory")
    columns = width or shutil.get_terminal_size((100, 24)).columns
    rundir = RunDir(run_dir)
    parts = _list_traces(rundir, columns) if id is None else _show_id(rundir, id)
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


def _list_traces(rundir: RunDir, width: int) -> Iterator["RenderableType"]:
    """A line for each trace, then one for each failure."""
    empty = True
    for trace in read_latest_traces(rundir):
        empty = False
        line = f"{strip_controls(trace.id):<24}  {_describe_tokens(trace):<22}  {_join_lines(trace.question)}"
        yield _truncate(line, width)
    for stage, failure in read_failures(rundir):
        empty = False
        line = f"{strip_controls(failure.id):<24}  failed in {stage}: {_join_lines(failure.message)}"
        yield _truncate(line, width, "red")
    if empty:
        raise InputError(f"{rundir.root}: no traces yet; run `drp generate` or `drp import` first")


def _describe_tokens(trace: Trace) -> str:
    before = "?" if trace.n_tokens is None else str(trace.n_tokens)
    if not isinstance(trace, Pruning):
        return before
    if trace.n_tokens_pruned is None or not trace.n_tokens:
        return f"{before} -> ?"
    change = 100 * (trace.n_tokens_pruned / trace.n_tokens - 1)
    return f"{before} -> {trace.n_tokens_pruned}  {change:+.0f}%"


def _join_lines(text: str) -> str:
    return " ".join(strip_controls(text).split())


def _truncate(text: str, width: int, style: str = "") -> "Text":
    from rich.text import Text

    line = Text(text[: 4 * width], style=style)
    line.truncate(width, overflow="ellipsis")
    return line


def _show_id(rundir: RunDir, id: str) -> Iterator["RenderableType"]:
    """The trace as the latest stage left it, and its failures."""
    files = trace_files(rundir)
    found = (trace for path, kind in files for trace in read_records(path, kind, "skip") if trace.id == id)
    trace = next(found, None)
    failures = [(stage, failure) for stage, failure in read_failures(rundir) if failure.id == id]
    if trace is None and not failures:
        raise InputError(f"{rundir.root}: no trace `{strip_controls(id)}`; `drp view {rundir.root}` lists all")
    if trace is not None:
        yield from _show_trace(trace)
    for stage, failure in failures:
        yield from _show_failure(stage, failure)


def _show_trace(trace: Trace) -> Iterator["RenderableType"]:
    from rich.text import Text

    yield _heading(strip_controls(trace.id))
    yield Text(strip_controls(trace.question) + "\n")
    predicted = "none" if trace.predicted is None else strip_controls(trace.predicted)
    answers = f"gold answer {strip_controls(trace.answer)} · predicted {predicted} ({_VERDICTS[trace.correct]})"
    yield Text(f"{answers} · tokens {_describe_tokens(trace)}\n")
    yield _heading("Original")
    yield _tabulate_steps(trace) if isinstance(trace, Decomposition) else Text(strip_controls(trace.thinking))
    yield Text(f"\n{strip_controls(trace.summary)}\n")
    if isinstance(trace, Pruning):
        yield _heading("Pruned")
        yield Text(f"{strip_controls(trace.pruned_thinking)}\n\n{strip_controls(trace.pruned_summary)}")


def _tabulate_steps(trace: Decomposition) -> "RenderableType":
    """A table of the steps: number, skill, action and text."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    edits = {source: edit for edit in (trace.edits if isinstance(trace, Pruning) else ()) for source in edit.sources}
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1), expand=True)
    table.add_column("#", justify="right", style="dim")
    table.add_column("skill", ratio=2, overflow="fold")
    table.add_column("action")
    table.add_column("step", ratio=7, overflow="fold")
    for index, step in enumerate(trace.steps):
        edit = edits.get(index)
        action = Text("") if edit is None else Text(edit.action.value, style=_STYLES[edit.action])
        table.add_row(str(index), Text(strip_controls(step.skill or "")), action, _show_step(step.text, index, edit))
    return table


def _show_step(text: str, index: int, edit: Edit | None) -> "Text":
    """A step's text, struck through if deleted or replaced, and its replacement; a merge's is at its first step."""
    from rich.text import Text

    kept = edit is None or edit.action is Action.KEEP
    shown = Text(strip_controls(text).strip(), style="" if kept else "dim strike")
    if edit is not None and not kept and edit.text and index == edit.sources[0]:
        shown.append(f"\n-> {strip_controls(edit.text).strip()}", style="not dim not strike")
    return shown


def _show_failure(stage: str, failure: Failure) -> Iterator["RenderableType"]:
    from rich.text import Text

    yield _heading(f"Failed: {strip_controls(failure.id)} ({stage})")
    yield Text(f"{strip_controls(failure.error)} after {failure.attempts} attempts: {strip_controls(failure.message)}")
    if failure.raw:
        yield _heading("Last reply")
        yield Text(strip_controls(failure.raw))


def _heading(text: str) -> "Text":
    from rich.text import Text

    return Text(text, style="bold underline")
