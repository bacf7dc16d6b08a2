"""The verbs beside the pipeline: bring traces, look at one, look at the machine."""

from pathlib import Path
from typing import Annotated

import typer

from drp.cli.options import DryRun, Limit, Overwrite, app, gather


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
    importer.run(settings, output, columns, model, tokenizer, gather(None, None, limit, dry_run, overwrite))


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
