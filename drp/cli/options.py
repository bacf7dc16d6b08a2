"""The Typer app, and the arguments and options that verbs share."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
Input = Annotated[Path | None, typer.Option("--input", help="Read this file instead of the run directory's.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write here instead of into the run directory.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first N input records.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write and spend nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete what earlier runs wrote and start again.")]
Reparse = Annotated[
    bool,
    typer.Option(
        "--reparse",
        help="Make the artifact again from the teacher's stored replies, with the current parser and checks. No "
        "request is sent, and no key is needed. The old artifact is kept as NAME.before. A record without a stored "
        "reply counts as failed.",
    ),
]


def load(path: Path, overrides: list[str] | None) -> "Config":
    from drp.config.loading import load_config

    return load_config(path, overrides or [])


def read_stage_options(
    config: ConfigPath,
    overrides: Overrides = None,
    input: Input = None,
    output: Output = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> "tuple[Config, RunOptions]":
    """The arguments and options of every stage verb."""
    from drp.runs.stage import RunOptions

    return load(config, overrides), RunOptions(input, output, limit, dry_run, overwrite)


def stage_verb(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a verb that takes the options of `read_stage_options` besides its own.

    The function receives the configuration and the RunOptions; its further parameters are the verb's own options.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(read_stage_options).parameters
        own = dict(list(inspect.signature(function).parameters.items())[2:])

        def command(**given: Any) -> None:
            config, options = read_stage_options(**{key: given[key] for key in shared})
            function(config, options, **{key: given[key] for key in own})

        # Typer makes the command line from the signature.
        parameters = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in (*shared.values(), *own.values())]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name=name, help=function.__doc__)(command)
        return function

    return register
