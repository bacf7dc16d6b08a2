"""`drp estimate`: calls, tokens, dollars and GPU-hours of what a run still has to do, before anything is spent.

Reads traces.jsonl, steps.jsonl, pruned.jsonl, replies.jsonl and the samples of evaluations as far as they exist here or
would be copied from `reuse`. Writes nothing, sends no requests and needs no key. What is not sampled yet is estimated
source by source, from the source's own traces, else from published figures.
"""

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from drp.config.sections import Config
from drp.errors import ConfigError
from drp.estimate.machines import count_lines, estimate_eval, estimate_generate, estimate_train
from drp.estimate.table import StageEstimate, format_estimate
from drp.estimate.teaching import TeachingEstimate
from drp.estimate.traces import SourceTraces, make_typical_trace, plan_traces, survey_traces
from drp.records import Decomposition, Failure, Trace
from drp.runs.jsonl import read_records
from drp.runs.manifest import compare_with, load_manifest
from drp.runs.progress import report, show_progress
from drp.runs.rundir import RunDir
from drp.runs.stage import NOT_DRAWN, FinishedRecord, RunOptions
from drp.stages import decompose, evaluate, generate, prune
from drp.training.draw import draw_key, find_refused


@dataclass(frozen=True)
class _Artifacts:
    """Where the records are that need not be made: in this run directory, or what is copied from `reuse`."""

    traces: Path
    steps: Path
    pruned: Path
    samples: Mapping[str, Mapping[str, Path]]
    """Of each evaluated model, by benchmark."""


def run(config: Config, options: RunOptions = RunOptions()) -> list[StageEstimate]:
    """Print the estimate and return its lines. Raises ConfigError if there are neither traces nor problems."""
    artifacts = _find_artifacts(config, options)
    sources, teaching = plan_traces(config, options.limit), TeachingEstimate(config)
    defects = Counter[str]()
    if artifacts.traces.exists():
        traces = islice(read_records(artifacts.traces, Trace), options.limit)
        defects = survey_traces(sources, traces, lambda trace: decompose.find_defect(trace, config))
    elif not sources:
        raise ConfigError(f"nothing to estimate: {artifacts.traces} is missing, and `generate.problems` is empty")
    manifest = load_manifest(artifacts.traces)
    if options.input or (manifest is not None and manifest.stage != "generate"):
        for one in sources.values():
            one.n_planned = one.n_sampled  # nothing more is sampled
    basis = _take_traces(teaching, config, options, artifacts, sources, defects)
    basis += _take_steps(teaching, config, options, artifacts)
    if config.reuse and not config.reuse.is_dir():
        basis.append(f"`reuse`: {config.reuse} does not exist yet, so nothing is taken from there")
    lines = [
        estimate_generate(config, sources.values(), artifacts.traces),
        *teaching.list_stages(),
        estimate_train(config, artifacts.pruned, teaching.prune.records, _mean_usable_tokens(sources)),
        estimate_eval(config, artifacts.samples, options.limit),
    ]
    notes = [*basis, *teaching.list_assumptions()]
    report(format_estimate(lines, f"Still to do for {config.run_dir}", notes, config.report.gpu_usd_per_hour))
    return lines


def _find_artifacts(config: Config, options: RunOptions) -> _Artifacts:
    rundir = RunDir(config.run_dir)
    samples = dict[str, dict[str, Path]]()
    for name, model in evaluate.list_models(config).items():
        paths = {benchmark.name: rundir.eval / name / f"{benchmark.name}.jsonl" for benchmark in config.eval.benchmarks}
        if not evaluate.is_trained_here(config, model):
            fingerprint = evaluate.build_fingerprint(config, model)
            paths = {key: _find_artifact(config, path, fingerprint) for key, path in paths.items()}
        samples[name] = paths
    return _Artifacts(
        traces=options.input or _find_artifact(config, rundir.traces, generate.build_fingerprint(config)),
        steps=_find_artifact(config, rundir.steps, decompose.build_fingerprint(config)),
        pruned=_find_artifact(config, rundir.pruned, prune.build_fingerprint(config)),
        samples=samples,
    )


def _find_artifact(config: Config, target: Path, fingerprint: dict[str, Any]) -> Path:
    """The artifact, else the finished one of `reuse` if it was made with the same configuration."""
    if target.exists() or config.reuse is None or not config.reuse.is_dir():
        return target
    twin = config.find_twin(target)
    manifest = load_manifest(twin) if twin else None
    if twin is None or manifest is None or manifest.state != "complete" or compare_with(manifest, fingerprint, [])[1]:
        return target
    return twin


def _take_traces(
    teaching: TeachingEstimate,
    config: Config,
    options: RunOptions,
    artifacts: _Artifacts,
    sources: Mapping[str, SourceTraces],
    defects: Mapping[str, int],
) -> list[str]:
    """Add the traces that are still to be decomposed and then pruned: those that training draws of the sampled and of
    the missing ones, and more to replace those that give no example. Returns notes.

    defects: how many of the sampled ones cannot be used, by reason.
    """
    source, n_wanted = artifacts.traces, config.train.max_samples
    n_sampled = sum(one.n_usable for one in sources.values())
    n_pool = n_sampled + sum(one.n_usable_missing for one in sources.values())
    share = min(1.0, n_wanted / n_pool) if n_wanted and n_pool else 1.0
    became, notes = Counter[str](), list[str]()
    if n_sampled:
        drawn = decompose.draw_traces(config, source, options)
        if drawn is not None and n_pool > n_sampled:
            # Some of those that are drawn now give way to missing ones.
            keys = sorted(drawn, key=lambda id: draw_key(config.data_seed, id))
            drawn = set(keys[: round(share * n_sampled)])
        notes = _take_sampled(teaching, config, options, artifacts, drawn, became)
    for one in sources.values():
        n_like = round(share * one.n_usable_missing)
        if n_like:
            teaching.add_trace(make_typical_trace(one.mean_usable_tokens), n_like)
            became[f"to decompose of those still to be sampled from {one.name}"] = n_like
    lost = config.estimate.lost_share
    n_more = min(round(lost / (1 - lost) * teaching.prune.records), n_pool - round(share * n_pool))
    if n_more:
        teaching.add_trace(make_typical_trace(_mean_usable_tokens(sources)), n_more)
        became[f"to replace the {lost:.0%} that give no example (estimate.lost_share)"] = n_more
    if n_pool > n_sampled:
        became[NOT_DRAWN] += n_pool - n_sampled - round(share * (n_pool - n_sampled))
    became.update(defects)
    where = str(source) if source.exists() else "no traces yet, the student is expected to answer as the paper's did"
    return [f"{where}: " + ", ".join(f"{what} {n:,}" for what, n in became.items() if n), *notes]


def _take_sampled(
    teaching: TeachingEstimate,
    config: Config,
    options: RunOptions,
    artifacts: _Artifacts,
    drawn: AbstractSet[str] | None,
    became: Counter[str],
) -> list[str]:
    """Add the sampled traces that are drawn (None: all) and not decomposed yet, and count them. Returns notes."""
    done, notes = _find_done(config, artifacts.steps, decompose.build_fingerprint(config))
    n_traces = count_lines(artifacts.traces) if options.limit is None else options.limit
    for record in show_progress("estimate", islice(read_records(artifacts.traces, Trace), options.limit), n_traces):
        if isinstance(record, Failure) or decompose.find_defect(record, config):
            continue
        if record.id in done:
            became["already decomposed or refused"] += 1
        elif drawn is not None and record.id not in drawn:
            became[NOT_DRAWN] += 1
        else:
            teaching.add_trace(record)
            became["to decompose"] += 1
    return notes


def _take_steps(teaching: TeachingEstimate, config: Config, options: RunOptions, artifacts: _Artifacts) -> list[str]:
    """Add the decompositions that are still to be pruned. Returns notes."""
    if not artifacts.steps.exists() or not _find_done(config, artifacts.steps, decompose.build_fingerprint(config))[0]:
        return []
    done, notes = _find_done(config, artifacts.pruned, prune.build_fingerprint(config))
    drawn = prune.draw_decompositions(config, artifacts.steps, options)
    for record in islice(read_records(artifacts.steps, Decomposition), options.limit):
        if isinstance(record, Decomposition) and record.id not in done and (drawn is None or record.id in drawn):
            teaching.add_decomposition(record)
    return notes


def _find_done(config: Config, target: Path, fingerprint: dict[str, Any]) -> tuple[set[str], list[str]]:
    """The ids that a stage would pay nothing more for: those in its artifact, and those whose replies were refused,
    because a rerun reads the same ones. None, and a note, if the artifact was made with another configuration."""
    manifest = load_manifest(target)
    if manifest is None or not target.exists():
        return set(), []
    if changes := compare_with(manifest, fingerprint, [])[1]:
        return set(), [f"{target} was made with another configuration ({changes[0]}): everything is estimated anew"]
    written = (record.id for record in read_records(target, FinishedRecord, "raise"))
    return {*written, *find_refused(target, config)}, []


def _mean_usable_tokens(sources: Mapping[str, SourceTraces]) -> int:
    """Mean length of the traces that may be decomposed, sampled and missing ones."""
    numbers = {one.name: one.n_usable + one.n_usable_missing for one in sources.values()}
    n_tokens = sum(numbers[one.name] * one.mean_usable_tokens for one in sources.values())
    return round(n_tokens / (sum(numbers.values()) or 1))
