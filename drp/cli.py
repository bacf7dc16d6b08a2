"""The command line. A stage is imported inside its command, so that `--help` answers without torch or an SDK.

Exit status: 0 done; 1 finished, but more records failed than `max_failures` allows; 2 the user's mistake; 130
interrupted, all finished work kept.
"""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from drp.settings import Config
    from drp.stage import RunOptions

app = typer.Typer(
    name="drp",
    help="Distilled Reasoning Pruning: make a reasoning model think shorter without getting dumber.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file, such as configs/demo.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the configuration. Repeatable."),
]
Input = Annotated[Path | None, typer.Option("--input", help="Read this instead of the run directory's artifact.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write this instead of the run directory's artifact.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Work on the first N input records only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; spend nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start again, dropping what an earlier run made.")]

INTERRUPTED = 130
PIPELINE = ("generate", "decompose", "prune", "train", "eval", "report")


def _add_stage(verb: str, module: str, purpose: str) -> None:
    """A stage verb: they all take the same options."""

    def command(
        config: ConfigPath,
        overrides: Overrides = None,
        input: Input = None,
        output: Output = None,
        limit: Limit = None,
        dry_run: DryRun = False,
        overwrite: Overwrite = False,
    ) -> None:
        stage = importlib.import_module(f"drp.stages.{module}")
        stage.run(_load(config, overrides), _options(input, output, limit, dry_run, overwrite))

    app.command(name=verb, help=purpose)(command)


_add_stage("generate", "generate", "problems -> traces: the student samples chain-of-thought.")
_add_stage("decompose", "decompose", "traces -> steps: the teacher splits thinking into skill-labelled steps.")
_add_stage("prune", "prune", "steps -> pruned: the teacher keeps, deletes, rewrites or merges each step.")


@app.command()
def train(
    config: ConfigPath,
    overrides: Overrides = None,
    input: Input = None,
    output: Output = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    preview: Annotated[bool, typer.Option("--preview", help="Show what would be trained on, then stop.")] = False,
) -> None:
    """pruned -> adapter: LoRA fine-tuning of the student on (question, pruned response)."""
    from drp.stages import train as stage

    settings, options = _load(config, overrides), _options(input, output, limit, dry_run, overwrite)
    if preview:
        typer.echo(stage.preview(settings, options).render())
    else:
        stage.run(settings, options)


_add_stage("eval", "evaluate", "benchmarks -> scores: pass@1 and tokens, with and without the cutoff.")


@app.command()
def report(
    config: ConfigPath,
    others: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Other run directories, side by side.")
    ] = None,
    overrides: Overrides = None,
    output: Output = None,
) -> None:
    """everything -> report: tables, figures, a trace viewer, one HTML page."""
    from drp.stages import report as stage

    stage.run(_load(config, overrides), _options(None, output, None, False, False), others or [])


@app.command()
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """All stages in order, skipping what is already complete."""
    _load(config, overrides)
    shared = [str(config), *(part for override in overrides or [] for part in ("--set", override))]
    limited = ["--limit", str(limit)] if limit else []
    flags = [flag for flag, given in (("--dry-run", dry_run), ("--overwrite", overwrite)) if given]
    for verb in PIPELINE:
        # A report takes seconds and always shows the present state; a dry run has none to show.
        if verb != "report":
            _run_verb([verb, *shared, *limited, *flags])
        elif not dry_run:
            _run_verb([verb, *shared])


@app.command(name="import")
def import_traces(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A .jsonl, .json or .parquet, or a hub data set.")],
    output: Annotated[Path, typer.Option("--output", help="The traces.jsonl to write.")],
    question: Annotated[str, typer.Option("--question", metavar="COL", help="Column of the question.")] = "question",
    response: Annotated[str, typer.Option("--response", metavar="COL", help="Column of the response.")] = "response",
    answer: Annotated[str, typer.Option("--answer", metavar="COL", help="Column of the gold answer.")] = "answer",
    id: Annotated[str | None, typer.Option("--id", metavar="COL", help="Column of the problem's id, if any.")] = None,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The student that responded.")] = "unknown",
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="A model to count tokens with.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Split of a hub data set.")] = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Bring your own traces instead of `generate`: SOURCE -> traces, graded on the way."""
    from drp.settings import SourceSettings
    from drp.stages import importer

    # A hub data set has no suffix of a file, and is not there as a folder.
    local = Path(source).exists() or Path(source).suffix in (".jsonl", ".ndjson", ".json", ".parquet")
    place = {"path": Path(source)} if local else {"dataset": source}
    settings = SourceSettings(name=Path(source).stem, split=split, **place)
    columns = importer.TraceColumns(question=question, response=response, answer=answer, id=id)
    importer.run(settings, output, columns, model, tokenizer, _options(None, None, limit, dry_run, overwrite))


@app.command()
def view(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/demo.")],
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A trace; none: a list of them.")] = None,
) -> None:
    """One trace in the terminal: original, steps with skills, actions, pruned."""
    from drp.viewer import view as render

    typer.echo(render(run, id), nl=False)


@app.command()
def doctor() -> None:
    """What this machine can run, and what to install for the rest."""
    from drp.doctor import describe, examine

    findings = list(examine())
    typer.echo(describe(findings))
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(2)


def _run_verb(arguments: list[str]) -> None:
    """One stage in a process of its own: an engine gives its memory back for certain only when its process ends."""
    child = subprocess.Popen([sys.executable, "-m", "drp", *arguments])
    try:
        status = child.wait()
    except KeyboardInterrupt:
        child.wait()  # it has had the same signal, is keeping what is finished, and says so
        sys.exit(INTERRUPTED)
    if status:
        sys.exit(status if status > 0 else 128 - status)


def _load(path: Path, overrides: list[str] | None) -> "Config":
    from drp.config import load_config

    return load_config(path, overrides or [])


def _options(input: Path | None, output: Path | None, limit: int | None, dry: bool, overwrite: bool) -> "RunOptions":
    from drp.stage import RunOptions

    return RunOptions(input=input, output=output, limit=limit, dry_run=dry, overwrite=overwrite)


def main() -> NoReturn:
    """Run a command; turn errors into one message and an exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    # No stage may phone home or move a bar on stdout.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        status = app(standalone_mode=False)
        if status == INTERRUPTED:  # what Typer makes of a KeyboardInterrupt
            _exit("interrupted; all finished work is kept, the same command goes on from there", INTERRUPTED)
        sys.exit(status)
    except Exception as error:
        from drp.artifacts import describe_os_error
        from drp.errors import DrpError

        if isinstance(error, DrpError):
            _exit(str(error), error.exit_status)
        if isinstance(error, OSError) and error.errno:
            _exit(describe_os_error(error), 2)
        if not isinstance(error, typer.TyperException):
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(error.exit_code)


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _exit(message: str, status: int) -> NoReturn:
    print(f"drp: {message}", file=sys.stderr)
    sys.exit(status)
