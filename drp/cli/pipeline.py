"""`drp run`: all stages in order, each in a process of its own, because only its end frees all memory of an engine.

    drp run CONFIG               generate, decompose, prune, train, eval, report
    drp run CONFIG --seeds 1,2   generate, decompose, prune; then all stages for each seed, in RUN_DIR-seed-N: the first
                                 three copy what RUN_DIR has (`reuse`); last a report that combines the seeds

Before a teacher is paid for the first time, the estimate is shown; the run goes on with `--yes` or a cost cap.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drp.cli.options import ConfigPath, DryRun, Limit, Overrides, Overwrite, app, load

if TYPE_CHECKING:
    from drp.config.sections import Config

INTERRUPTED = 130
SHARED = ("generate", "decompose", "prune")
"""The stages whose artifacts several seeds share."""
PIPELINE = (*SHARED, "train", "eval", "report")


def read_seeds(text: str) -> list[int]:
    """1,2,3 as numbers. Raises BadParameter for anything else."""
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds):
        raise typer.BadParameter(f"expected different whole numbers such as 1,2,3, got {text!r}")
    return seeds


@app.command()
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    yes: Annotated[bool, typer.Option("--yes", help="Pay the teacher; without it, a cost cap is asked for.")] = False,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Train and evaluate once per seed, on the same traces and prunings."),
    ] = None,
) -> None:
    """All stages in order; complete ones are skipped."""
    loaded = load(config, overrides)
    numbers = [] if seeds is None else read_seeds(seeds)
    if not dry_run:
        _check_cost(loaded, limit, agreed=yes, overwrite=overwrite)
    shared = [str(config), *_write_overrides(overrides or [])]
    flags = [flag for flag, given in (("--dry-run", dry_run), ("--overwrite", overwrite)) if given]
    if not numbers:
        _run_stages(PIPELINE, loaded, shared, limit, flags)
        return
    _run_stages(SHARED, loaded, shared, limit, flags)
    folders = [Path(f"{loaded.run_dir}-seed-{seed}") for seed in numbers]
    if dry_run:
        typer.echo(f"train, eval and report would run in {', '.join(map(str, folders))}")
        return
    for seed, folder in zip(numbers, folders, strict=True):
        paths = (f"run_dir={json.dumps(str(folder))}", f"reuse={json.dumps(str(loaded.run_dir))}")
        own = [*paths, f"seed={seed}", f"generate.seed={loaded.data_seed}"]
        changed = load(config, [*(overrides or []), *own])
        _run_stages(PIPELINE, changed, [*shared, *_write_overrides(own)], limit, flags)
    _run_verb(["report", *map(str, folders), "--output", str(loaded.run_dir / "report")])


def _check_cost(config: "Config", limit: int | None, *, agreed: bool, overwrite: bool) -> None:
    """Show what the teacher will cost. Raises ConfigError if nobody has agreed to that."""
    teacher = config.teacher
    if teacher.provider == "rules":
        return
    from drp.errors import ConfigError
    from drp.runs.progress import write_dollars
    from drp.runs.stage import RunOptions
    from drp.stages import estimate

    teaching = [line for line in estimate.run(config, RunOptions(limit=limit)) if line.calls is not None]
    costs = [line.usd for line in teaching]
    usd = None if None in costs else sum(cost for cost in costs if cost is not None)
    # A server of your own has no price; whoever pays for another one gives it in teacher.prices.
    is_free = usd is None and teacher.base_url is not None
    is_paid = not is_free and (usd is None or usd > 0 or overwrite)
    if is_paid and not agreed and teacher.max_cost_usd is None:
        amount = "an unknown amount" if usd is None or overwrite else f"about {write_dollars(usd)}"
        raise ConfigError(
            f"run: what is still to do costs {amount} for the teacher {teacher.model} (see the estimate above). "
            "Nothing is sent before you agree: give --yes, or a limit in US dollars with --set teacher.max_cost_usd=..."
        )


def _run_stages(
    verbs: Sequence[str], config: "Config", shared: Sequence[str], limit: int | None, flags: Sequence[str]
) -> None:
    """Run the verbs in order.

    shared: the arguments of all verbs. limit, flags: not for the report, which takes seconds and is always made again;
    the flags are not for the second runs of decompose and prune, either.
    """
    limited = ["--limit", str(limit)] if limit else []
    for verb in verbs:
        if verb != "report":
            _run_verb([verb, *shared, *limited, *flags])
        elif "--dry-run" not in flags:
            _run_verb([verb, *shared])
        if verb == "prune" and "--dry-run" not in flags:
            _replace_lost(config, limit, [*shared, *limited])


def _replace_lost(config: "Config", limit: int | None, arguments: Sequence[str]) -> None:
    """Decompose and prune again as long as there are traces to replace those that prune has lost.

    Each time, as many are drawn as were lost; a share of them is lost again, so it ends after a few times.
    """
    from drp.runs.stage import RunOptions
    from drp.stages.decompose import count_undecomposed

    while count_undecomposed(config, RunOptions(limit=limit)):
        for verb in ("decompose", "prune"):
            _run_verb([verb, *arguments])


def _write_overrides(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def _run_verb(arguments: Sequence[str]) -> None:
    child = subprocess.Popen([sys.executable, "-m", "drp", *arguments])
    # The terminal sends Ctrl-C to the child too. A SIGTERM is for this process alone, and is passed on.
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        status = child.wait()
    except KeyboardInterrupt:
        child.wait()  # the child has received the same signal; it stores finished work and prints the message
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
    if status:
        sys.exit(status if status > 0 else 128 - status)
