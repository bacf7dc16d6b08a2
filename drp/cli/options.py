"""The app, and the arguments and options that verbs share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drp.config.sections import Config
    from drp.runs.stage import RunOptions

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

Reparse = Annotated[
    bool,
    typer.Option(
        "--reparse",
        help="Make the artifact again from the teacher's stored replies, with today's parser and checks: asks nobody, "
        "costs nothing, needs no key. The new one takes the old one's place when it is whole; the old one stays "
        "beside it as NAME.before. A record without a stored reply counts as failed.",
    ),
]


def load(path: Path, overrides: list[str] | None) -> "Config":
    from drp.config.loading import load_config

    return load_config(path, overrides or [])


def gather(
    input: Path | None, output: Path | None, limit: int | None, dry: bool, overwrite: bool, reparse: bool = False
) -> "RunOptions":
    from drp.runs.stage import RunOptions

    return RunOptions(input, output, limit, dry, overwrite, reparse)
