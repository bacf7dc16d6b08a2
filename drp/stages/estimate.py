"""`drp estimate`: calls, tokens, dollars and GPU-hours of what a run has still to do, before anything is spent.

Reads traces.jsonl, steps.jsonl, pruned.jsonl and replies.jsonl where they are there; writes nothing, asks nobody, needs
no key. Without traces it goes by the configured problems and a stated length.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from drp.config.sections import Config
from drp.errors import ConfigError
from drp.estimate.machines import (
    Batch,
    count_lines,
    estimate_eval,
    estimate_generate,
    estimate_train,
    make_typical_trace,
    mean_tokens,
    plan_sampling,
)
from drp.estimate.table import Line, write_estimate
from drp.estimate.teaching import Teaching
from drp.records import Decomposition, Failure, Trace
from drp.runs.jsonl import read_records
from drp.runs.manifest import describe_changes, load_manifest
from drp.runs.progress import report, show_progress
from drp.runs.rundir import RunDir
from drp.runs.stage import FinishedRecord, RunOptions
from drp.stages import decompose, prune
from drp.stages.evaluate import list_models


def run(config: Config, options: RunOptions = RunOptions()) -> list[Line]:
    """Print the estimate and return its lines."""
    rundir = RunDir(config.run_dir)
    source = options.input or rundir.traces
    batches, teaching = plan_sampling(config, options.limit), Teaching(config)
    generate = estimate_generate(config, batches)
    if options.input or rundir.traces.exists():
        n_missing = 0 if options.input else generate.records or 0
        basis = _take_traces(teaching, config, source, options, n_missing) + _take_steps(teaching, config, options)
    elif batches:
        basis = _take_problems(teaching, batches)
    else:
        raise ConfigError(f"nothing to estimate: {source} is missing, and `generate.problems` is empty")
    lines = [
        generate,
        *teaching.write(),
        estimate_train(config, teaching.prune.records, _mean_tokens(batches, config)),
        estimate_eval(config, list_models(config), options.limit),
    ]
    report(write_estimate(lines, f"Still to do for {config.run_dir}", [*basis, *teaching.explain()]))
    return lines


def _take_problems(teaching: Teaching, batches: list[Batch]) -> list[str]:
    """No trace is there yet: every response that `generate` will draw stands as one of typical length."""
    for batch in batches:
        if batch.n:
            teaching.add_trace(make_typical_trace(batch.tokens), batch.n)
    return ["no traces yet: as if each response were right, and as long as said; seven tenths of it thinking"]


def _take_traces(teaching: Teaching, config: Config, source: Path, options: RunOptions, n_missing: int) -> list[str]:
    """The traces that are still to be decomposed, and then pruned. n_missing: responses that are still to be sampled,
    taken to be as those that are there."""
    done, notes = _find_done(RunDir(config.run_dir).steps, decompose.fingerprint(config))
    became: Counter[str] = Counter()
    records = islice(read_records(source, Trace), options.limit)
    for record in show_progress("estimate", records, count_lines(source) if options.limit is None else options.limit):
        if isinstance(record, Failure):
            became[record.kind] += 1
        elif record.id in done:
            became["decomposed already"] += 1
        elif reason := decompose.find_skip_reason(record, config.decompose.only_correct):
            became[reason] += 1
        else:
            teaching.add_trace(record)
            became["to decompose"] += 1
    n_taken = became["to decompose"] + became["decomposed already"]
    n_like = round(n_missing * n_taken / became.total()) if n_taken else 0
    if n_like:
        teaching.add_trace(make_typical_trace(mean_tokens(source) or 1), n_like)
        became["and of those still to be sampled as many as of these"] += n_like
    return [f"{source}: " + ", ".join(f"{what} {n:,}" for what, n in became.items() if n), *notes]


def _take_steps(teaching: Teaching, config: Config, options: RunOptions) -> list[str]:
    """The steps that are still to be pruned."""
    rundir = RunDir(config.run_dir)
    if not rundir.steps.exists() or not _find_done(rundir.steps, decompose.fingerprint(config))[0]:
        return []
    done, notes = _find_done(rundir.pruned, prune.fingerprint(config))
    for record in islice(read_records(rundir.steps, Decomposition), options.limit):
        if isinstance(record, Decomposition) and record.id not in done:
            teaching.add_decomposition(record)
    return notes


def _find_done(target: Path, fingerprint: Mapping[str, Any]) -> tuple[set[str], list[str]]:
    """Ids that a stage need not do again; none, and a note, where its artifact was made with another configuration."""
    manifest = load_manifest(target)
    if manifest is None or not target.exists():
        return set(), []
    if changes := list(describe_changes(manifest.fingerprint, fingerprint)):
        return set(), [f"{target} was made with another configuration, so all of it counts again ({changes[0]})"]
    return {record.id for record in read_records(target, FinishedRecord, "raise")}, []


def _mean_tokens(batches: list[Batch], config: Config) -> int:
    """Of a response, for the training set that is still to come."""
    n = sum(batch.n or 0 for batch in batches)
    traces = mean_tokens(RunDir(config.run_dir).traces)
    return traces or (sum((batch.n or 0) * batch.tokens for batch in batches) // n if n else 0)
