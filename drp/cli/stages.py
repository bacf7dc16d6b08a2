"""The verbs of the pipeline's stages, and `drp run`, which runs all of them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drp.cli.options import ConfigPath, DryRun, Limit, Output, Overrides, Overwrite, Reparse, app, load, stage_verb

if TYPE_CHECKING:
    from drp.config.sections import Config
    from drp.runs.stage import RunOptions

INTERRUPTED = 130
PIPELINE = ("generate", "decompose", "prune", "train", "eval", "report")


@stage_verb("generate")
def generate(config: "Config", options: "RunOptions") -> None:
    """problems -> traces: the student samples responses."""
    from drp.stages import generate

    _run(generate.run, config, options)


@stage_verb("decompose")
def decompose(config: "Config", options: "RunOptions", reparse: Reparse = False) -> None:
    """traces -> steps: the teacher splits the thinking into steps."""
    from drp.stages import decompose

    _run(decompose.run, config, replace(options, reparse=reparse))


@stage_verb("prune")
def prune(config: "Config", options: "RunOptions", reparse: Reparse = False) -> None:
    """steps -> pruned: the teacher deletes, rewrites and merges steps."""
    from drp.stages import prune

    _run(prune.run, config, replace(options, reparse=reparse))


@stage_verb("train")
def train(
    config: "Config",
    options: "RunOptions",
    preview: Annotated[bool, typer.Option("--preview", help="Show what would be trained on, then stop.")] = False,
) -> None:
    """pruned -> adapter: the student is fine-tuned."""
    from drp.stages import train

    if preview:
        typer.echo(train.preview(config, options).render())
    else:
        _run(train.run, config, options)


@stage_verb("eval")
def evaluate(
    config: "Config",
    options: "RunOptions",
    regrade: Annotated[
        bool,
        typer.Option("--regrade", help="Grade the stored responses again with the current grader; sample nothing."),
    ] = False,
) -> None:
    """benchmarks -> scores: pass@1 and tokens per model."""
    from drp.stages import evaluate
    from drp.stages import regrade as regrading

    if regrade:
        regrading.run(config, options)
    else:
        _run(evaluate.run, config, options)


@app.command()
def report(
    config: Annotated[Path, typer.Argument(metavar="CONFIG|RUN", help="YAML file, or a run directory.")],
    others: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Other run directories to compare with.")
    ] = None,
    overrides: Overrides = None,
    output: Output = None,
) -> None:
    """everything -> report: tables, figures, traces on one HTML page."""
    from drp.runs.stage import RunOptions
    from drp.stages import report

    report.run(report.find_config(config, overrides or []), RunOptions(output=output), others or [])


@app.command()
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """All stages in order; complete ones are skipped."""
    load(config, overrides)
    shared = [str(config), *(part for override in overrides or [] for part in ("--set", override))]
    limited = ["--limit", str(limit)] if limit else []
    flags = [flag for flag, given in (("--dry-run", dry_run), ("--overwrite", overwrite)) if given]
    for verb in PIPELINE:
        # A report takes seconds and is always made again; it has no --limit, --overwrite or --dry-run.
        if verb != "report":
            _run_verb([verb, *shared, *limited, *flags])
        elif not dry_run:
            _run_verb([verb, *shared])


def _run(stage: "Callable[[Config, RunOptions], Any]", config: "Config", options: "RunOptions") -> None:
    from drp.config.loading import storing_config

    with storing_config(config, options.dry_run):
        stage(config, options)


def _run_verb(arguments: list[str]) -> None:
    """Run a stage in a process of its own, because only the end of its process frees all memory of an engine."""
    child = subprocess.Popen([sys.executable, "-m", "drp", *arguments])
    try:
        status = child.wait()
    except KeyboardInterrupt:
        child.wait()  # the child has received the same signal; it stores finished work and prints the message
        sys.exit(INTERRUPTED)
    if status:
        sys.exit(status if status > 0 else 128 - status)
