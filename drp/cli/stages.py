"""The stages' verbs, and `drp run`, which goes through all of them."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drp.cli.options import ConfigPath, DryRun, Input, Limit, Output, Overrides, Overwrite, Reparse, app, gather, load

if TYPE_CHECKING:
    from drp.config.sections import Config
    from drp.runs.stage import RunOptions

INTERRUPTED = 130
PIPELINE = ("generate", "decompose", "prune", "train", "eval", "report")


def _run_stage(module: str, config: "Config", options: "RunOptions") -> None:
    from drp.config.loading import storing_config

    with storing_config(config, options.dry_run):
        importlib.import_module(f"drp.stages.{module}").run(config, options)


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
        _run_stage(module, load(config, overrides), gather(input, output, limit, dry_run, overwrite))

    app.command(name=verb, help=purpose)(command)


def _add_teacher_stage(verb: str, purpose: str) -> None:
    """A stage verb whose work is a teacher's."""

    def command(
        config: ConfigPath,
        overrides: Overrides = None,
        input: Input = None,
        output: Output = None,
        limit: Limit = None,
        dry_run: DryRun = False,
        overwrite: Overwrite = False,
        reparse: Reparse = False,
    ) -> None:
        _run_stage(verb, load(config, overrides), gather(input, output, limit, dry_run, overwrite, reparse))

    app.command(name=verb, help=purpose)(command)


_add_stage("generate", "generate", "problems -> traces: the student samples chain-of-thought.")
_add_teacher_stage("decompose", "traces -> steps: the teacher splits thinking into skill-labelled steps.")
_add_teacher_stage("prune", "steps -> pruned: the teacher keeps, deletes, rewrites or merges each step.")


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

    settings, options = load(config, overrides), gather(input, output, limit, dry_run, overwrite)
    if preview:
        typer.echo(stage.preview(settings, options).render())
    else:
        _run_stage("train", settings, options)


@app.command(name="eval")
def evaluate(
    config: ConfigPath,
    overrides: Overrides = None,
    input: Input = None,
    output: Output = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    regrade: Annotated[
        bool, typer.Option("--regrade", help="Grade the stored responses again with today's grader; sample nothing.")
    ] = False,
) -> None:
    """benchmarks -> scores: pass@1 and tokens, with and without the cutoff."""
    settings, options = load(config, overrides), gather(input, output, limit, dry_run, overwrite)
    if regrade:
        from drp.stages import regrade as stage

        stage.run(settings, options)
    else:
        _run_stage("evaluate", settings, options)


@app.command()
def report(
    config: Annotated[Path, typer.Argument(metavar="CONFIG|RUN", help="YAML file, or a run directory.")],
    others: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Other run directories, side by side.")
    ] = None,
    overrides: Overrides = None,
    output: Output = None,
) -> None:
    """everything -> report: tables, figures, a trace viewer, one HTML page."""
    from drp.stages import report as stage

    stage.run(stage.find_config(config, overrides or []), gather(None, output, None, False, False), others or [])


@app.command()
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """All stages in order, skipping what is already complete."""
    load(config, overrides)
    shared = [str(config), *(part for override in overrides or [] for part in ("--set", override))]
    limited = ["--limit", str(limit)] if limit else []
    flags = [flag for flag, given in (("--dry-run", dry_run), ("--overwrite", overwrite)) if given]
    for verb in PIPELINE:
        # A report takes seconds and always shows the present state; a dry run has none to show.
        if verb != "report":
            _run_verb([verb, *shared, *limited, *flags])
        elif not dry_run:
            _run_verb([verb, *shared])


def _run_verb(arguments: list[str]) -> None:
    """One stage in a process of its own: an engine gives its memory back for certain only when its process ends."""
    child = subprocess.Popen([sys.executable, "-m", "drp", *arguments])
    try:
        status = child.wait()
    except KeyboardInterrupt:
        child.wait()  # it has had the same signal, is storing_config what is finished, and says so
        sys.exit(INTERRUPTED)
    if status:
        sys.exit(status if status > 0 else 128 - status)
