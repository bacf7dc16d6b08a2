"""The verbs besides the pipeline: import traces, judge, estimate, view, batches, doctor."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drp.cli.options import ConfigPath, DryRun, Input, Limit, Overrides, Overwrite, Reparse, app, load, stage_verb

if TYPE_CHECKING:
    from drp.config.sections import Config
    from drp.runs.stage import RunOptions


@app.command(name="import")
def import_traces(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A .jsonl, .jsonl.gz, .json, .csv or .parquet, a hub data set, or -."),
    ],
    output: Annotated[Path, typer.Option("--output", help="The traces.jsonl to write.")],
    question: Annotated[str, typer.Option("--question", metavar="COL", help="Column of the question.")] = "question",
    response: Annotated[
        str, typer.Option("--response", metavar="COL", help="Column of the response, or of a list of responses.")
    ] = "response",
    reasoning: Annotated[
        str | None, typer.Option("--reasoning", metavar="COL", help="Column of the reasoning, if it has its own.")
    ] = None,
    messages: Annotated[
        str | None, typer.Option("--messages", metavar="COL", help="Column of a conversation with both.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="COL", help="Column of the gold answer. Without: not graded.")
    ] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="COL", help="Column of the problem's id, if any.")] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model that wrote the responses.")
    ] = "unknown",
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="A model whose tokenizer counts tokens.")] = None,
    config: Annotated[str | None, typer.Option("--config", help="Configuration (subset) of a hub data set.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Split of a hub data set.")] = None,
    max_failures: Annotated[
        float, typer.Option("--max-failures", min=0, help="Rows that may fail: a number, or a share below 1.")
    ] = 0,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """SOURCE -> traces: grade responses that you already have."""
    from drp.config.sections import SourceSettings
    from drp.problems import STDIN, find_kind
    from drp.runs.stage import RunOptions
    from drp.stages import importer

    path = STDIN if source == "-" else Path(source)
    # Anything that is neither an existing path nor named like a file is taken for a data set on the hub.
    place = {"path": path} if path.exists() or find_kind(source) else {"dataset": source}
    settings = SourceSettings(name=path.stem, config=config, split=split, **place)
    columns = importer.TraceColumns(question, response, answer, id, reasoning, messages)
    options = RunOptions(limit=limit, dry_run=dry_run, overwrite=overwrite)
    importer.run(settings, output, columns, model, tokenizer, options, max_failures)


@stage_verb("judge")
def judge(
    config: "Config",
    options: "RunOptions",
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="A run directory, or a steps.jsonl.")],
    reparse: Reparse = False,
) -> None:
    """Compare the steps of CONFIG's run with OTHER's, in pairs."""
    from drp.stages import judge

    judge.run(config, other, replace(options, reparse=reparse))


@app.command()
def estimate(
    config: ConfigPath,
    overrides: Overrides = None,
    input: Input = None,
    limit: Limit = None,
) -> None:
    """Calls, tokens, dollars and GPU-hours of what is still to do."""
    from drp.runs.stage import RunOptions
    from drp.stages import estimate

    estimate.run(load(config, overrides), RunOptions(input=input, limit=limit, dry_run=True))


@app.command()
def view(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/demo.")],
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of a trace; without it, list the traces.")
    ] = None,
) -> None:
    """Show one trace in the terminal: original, steps, actions, pruned."""
    from drp.report.terminal import view

    typer.echo(view(run, id), nl=False)


@app.command()
def batches(
    config: ConfigPath,
    overrides: Overrides = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel those under way; replies that they already have are stored.")
    ] = False,
) -> None:
    """List a run's batches at the provider (`teacher.mode: batch`)."""
    from drp.chat.batch.overview import report_batches

    typer.echo(report_batches(load(config, overrides), cancel=cancel))


@app.command()
def doctor() -> None:
    """What this machine can run, and what to install for the rest."""
    from drp.doctor import describe, examine

    findings = list(examine())
    typer.echo(describe(findings))
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(2)
