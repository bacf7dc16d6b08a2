"""`drp estimate`: calls, tokens, dollars and GPU-hours of what a run still has to do, before anything is spent.

Reads traces.jsonl, steps.jsonl, pruned.jsonl and replies.jsonl as far as they exist. Writes nothing, sends no requests
and needs no key. Without traces, the estimate is for the configured problems, with responses of a typical length.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from drp.config.sections import Config
from drp.errors import ConfigError
from drp.estimate.machines import (
    PlannedResponses,
    count_lines,
    estimate_eval,
    estimate_generate,
    estimate_train,
    make_typical_trace,
    mean_tokens,
    plan_sampling,
)
from drp.estimate.table import StageEstimate, format_estimate
from drp.estimate.teaching import TeachingEstimate
from drp.records import Decomposition, Failure, Trace
from drp.runs.jsonl import read_records
from drp.runs.manifest import describe_changes, load_manifest
from drp.runs.progress import report, show_progress
from drp.runs.rundir import RunDir
from drp.runs.stage import FinishedRecord, RunOptions
from drp.stages import decompose, prune
from drp.stages.evaluate import list_models


def run(config: Config, options: RunOptions = RunOptions()) -> list[StageEstimate]:
    """Print the estimate and return its lines. Raises ConfigError if there are neither traces nor problems."""
    rundir = RunDir(config.run_dir)
    source = options.input or rundir.traces
    planned, teaching = plan_sampling(config, options.limit), TeachingEstimate(config)
    generate = estimate_generate(config, planned)
    if options.input or rundir.traces.exists():
        n_missing = 0 if options.input else generate.records or 0
        basis = _take_traces(teaching, config, source, options, n_missing) + _take_steps(teaching, config, options)
    elif planned:
        basis = _take_problems(teaching, planned)
    else:
        raise ConfigError(f"nothing to estimate: {source} is missing, and `generate.problems` is empty")
    lines = [
        generate,
        *teaching.list_stages(),
        estimate_train(config, teaching.prune.records, _mean_tokens(planned, config)),
        estimate_eval(config, list_models(config), options.limit),
    ]
    report(format_estimate(lines, f"Still to do for {config.run_dir}", [*basis, *teaching.list_assumptions()]))
    return lines


def _take_problems(teaching: TeachingEstimate, planned: list[PlannedResponses]) -> list[str]:
    """Without traces: add one of typical length for each response that `generate` will sample. Returns notes."""
    for responses in planned:
        if responses.n:
            teaching.add_trace(make_typical_trace(responses.tokens), responses.n)
    return ["no traces yet: assumes that every response is right and has the length given, 70% of it thinking"]


def _take_traces(
    teaching: TeachingEstimate, config: Config, source: Path, options: RunOptions, n_missing: int
) -> list[str]:
    """Add the traces that are still to be decomposed, and then pruned. Returns notes.

    n_missing: responses that are still to be sampled. The same share of them is assumed to be decomposed.
    """
    done, notes = _find_done(RunDir(config.run_dir).steps, decompose.build_fingerprint(config))
    drawn = decompose.draw_traces(config, source, options)
    became: Counter[str] = Counter()
    records = islice(read_records(source, Trace), options.limit)
    for record in show_progress("estimate", records, count_lines(source) if options.limit is None else options.limit):
        if isinstance(record, Failure):
            became[record.kind] += 1
        elif record.id in done:
            became["already decomposed"] += 1
        elif reason := decompose.find_skip_reason(record, config, drawn):
            became[reason] += 1
        else:
            teaching.add_trace(record)
            became["to decompose"] += 1
    n_taken = became["to decompose"] + became["already decomposed"]
    n_like = round(n_missing * n_taken / became.total()) if n_taken else 0
    if n_like:
        teaching.add_trace(make_typical_trace(mean_tokens(source) or 1), n_like)
        became["the same share of those still to be sampled"] += n_like
    return [f"{source}: " + ", ".join(f"{what} {n:,}" for what, n in became.items() if n), *notes]


def _take_steps(teaching: TeachingEstimate, config: Config, options: RunOptions) -> list[str]:
    """Add the decompositions that are still to be pruned. Returns notes."""
    rundir = RunDir(config.run_dir)
    if not rundir.steps.exists() or not _find_done(rundir.steps, decompose.build_fingerprint(config))[0]:
        return []
    done, notes = _find_done(rundir.pruned, prune.build_fingerprint(config))
    for record in islice(read_records(rundir.steps, Decomposition), options.limit):
        if isinstance(record, Decomposition) and record.id not in done:
            teaching.add_decomposition(record)
    return notes


def _find_done(target: Path, fingerprint: Mapping[str, Any]) -> tuple[set[str], list[str]]:
    """The ids that are in an artifact already. None, and a note, if it was made with another configuration."""
    manifest = load_manifest(target)
    if manifest is None or not target.exists():
        return set(), []
    if changes := list(describe_changes(manifest.fingerprint, fingerprint)):
        return set(), [f"{target} was made with another configuration ({changes[0]}): everything is estimated anew"]
    return {record.id for record in read_records(target, FinishedRecord, "raise")}, []


def _mean_tokens(planned: list[PlannedResponses], config: Config) -> int:
    """Mean length of a response; used for training data that does not exist yet."""
    n = sum(responses.n or 0 for responses in planned)
    traces = mean_tokens(RunDir(config.run_dir).traces)
    return traces or (sum((responses.n or 0) * responses.tokens for responses in planned) // n if n else 0)
