"""The verbs beside the pipeline: bring traces, compare decompositions, look at a trace, look at the machine."""

from pathlib import Path
from typing import Annotated

import typer

from drp.cli.options import ConfigPath, DryRun, Input, Limit, Output, Overrides, Overwrite, Reparse, app, gather, load


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
    from drp.config.sections import SourceSettings
    from drp.stages import importer

    # A hub data set has no suffix of a file, and is not there as a folder.
    local = Path(source).exists() or Path(source).suffix in (".jsonl", ".ndjson", ".json", ".parquet")
    place = {"path": Path(source)} if local else {"dataset": source}
    settings = SourceSettings(name=Path(source).stem, split=split, **place)
    columns = importer.TraceColumns(question=question, response=response, answer=answer, id=id)
    importer.run(settings, output, columns, model, tokenizer, gather(None, None, limit, dry_run, overwrite))


@app.command()
def judge(
    config: ConfigPath,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="A run directory, or a steps.jsonl.")],
    overrides: Overrides = None,
    input: Input = None,
    output: Output = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    reparse: Reparse = False,
) -> None:
    """Pairwise judge of two decompositions of the same traces: CONFIG's steps against OTHER's."""
    from drp.stages import judge as stage

    stage.run(load(config, overrides), other, gather(input, output, limit, dry_run, overwrite, reparse))


@app.command()
def estimate(
    config: ConfigPath,
    overrides: Overrides = None,
    input: Input = None,
    limit: Limit = None,
) -> None:
    """Calls, tokens, dollars and GPU-hours of what is still to do, before anything is spent."""
    from drp.stages import estimate as stage

    stage.run(load(config, overrides), gather(input, None, limit, True, False))


@app.command()
def view(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/demo.")],
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A trace; none: a list of them.")] = None,
) -> None:
    """One trace in the terminal: original, steps with skills, actions, pruned."""
    from drp.report.terminal import view as render

    typer.echo(render(run, id), nl=False)


@app.command()
def batches(
    config: ConfigPath,
    overrides: Overrides = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End those under way; what they have done is stored.")
    ] = False,
) -> None:
    """The teacher's batches of a run (`teacher.mode: batch`), and how far each is."""
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
