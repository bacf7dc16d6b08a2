"""The verbs of the pipeline's stages."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drp.cli.options import Output, Overrides, Reparse, app, stage_verb

if TYPE_CHECKING:
    from drp.config.sections import Config
    from drp.runs.stage import RunOptions


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


def _run(stage: "Callable[[Config, RunOptions], Any]", config: "Config", options: "RunOptions") -> None:
    from drp.config.loading import storing_config

    with storing_config(config, options.dry_run):
        stage(config, options)
