"""Generate, train and eval: GPU-hours from tokens and tokens per second.

Tokens per second are those of the configuration, else those that this run directory's own stages reached, else
published ones for a GPU of the kind `estimate.gpu` and the student's size. If there are none, the hours are left
unknown.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict
from pydantic_core import from_json

from drp.config.sections import Config
from drp.estimate.published import Speed, find_billions, find_length, find_speed
from drp.estimate.table import StageEstimate
from drp.estimate.traces import OTHER_TOKENS, SourceTraces, count_problems
from drp.records import Pruning, Record
from drp.runs.jsonl import explain_os_errors, read_records
from drp.runs.manifest import InputDigest, load_manifest
from drp.runs.rundir import RunDir
from drp.teachers.llm.division import estimate_tokens

_PRUNED_SHARE = 0.4  # of a response: 0.36 in the paper (section 6.2), 0.39 in a language model's replies for 10 traces
_PROMPT_TOKENS = 80  # expected length of a question


@dataclass(frozen=True)
class PlannedResponses:
    """Responses that are still to be sampled, of one model to the problems of one source."""

    name: str
    n: int | None
    """None if the number of problems is unknown."""
    tokens: int
    """Expected length of one response."""
    model: str = ""
    """Name of the evaluated model."""


def estimate_generate(config: Config, sources: Collection[SourceTraces], traces: Path) -> StageEstimate:
    """What is missing of the planned traces. traces: the file of those that are sampled."""
    manifest = load_manifest(traces)
    if manifest is not None and manifest.stage != "generate":
        return StageEstimate("generate", notes=[f"the traces come from `drp {manifest.stage}`"])
    planned = {source.name for source in config.generate.problems}
    missing = [
        PlannedResponses(source.name, None if source.n_planned is None else source.n_missing, source.mean_tokens)
        for source in sources
        if source.name in planned
    ]
    return _estimate_sampling("generate", missing, config, config.generate.sampling.max_new_tokens)


def estimate_eval(config: Config, samples: Mapping[str, Mapping[str, Path]], limit: int | None) -> StageEstimate:
    """What is missing of every model's responses to every benchmark.

    samples: the file of each model and benchmark. limit: problems at most.
    """
    sampling, missing = config.eval.choose_sampling(), list[PlannedResponses]()
    for benchmark in config.eval.benchmarks:
        [(_, n_all)] = count_problems([benchmark], sampling.n, config.seed, limit)
        paths = {model: files[benchmark.name] for model, files in samples.items()}
        for model, path in paths.items():
            n = None if n_all is None else max(0, n_all - count_lines(path))
            missing.append(
                PlannedResponses(benchmark.name, n, _expect_tokens(config, model, benchmark.name, paths), model)
            )
    return _estimate_sampling("eval", missing, config, sampling.max_new_tokens)


def _expect_tokens(config: Config, model: str, benchmark: str, paths: Mapping[str, Path]) -> int:
    """Expected length of a model's response to a benchmark: the mean of those in its file.

    Else that of another model's file, changed by the published ratio of the two models. Else the published length, and
    for a benchmark without one the mean of the traces. paths: the file of each model.
    """
    limit, billions = config.eval.choose_sampling().max_new_tokens, find_billions(config.student.model)
    own, published = mean_tokens(paths[model]), find_length(benchmark, billions, model)
    if own:
        return own
    for other, path in paths.items():
        measured, length = mean_tokens(path), find_length(benchmark, billions, other)
        if measured and length and published:
            return round(measured * published.expect_tokens(limit) / length.expect_tokens(limit))
        if measured:
            return measured
    if config.estimate.tokens_per_response:
        return config.estimate.tokens_per_response
    if published:
        return published.expect_tokens(limit)
    return min(limit, mean_tokens(RunDir(config.run_dir).traces) or OTHER_TOKENS)


def estimate_train(config: Config, pruned: Path, n_to_prune: int, response_tokens: int) -> StageEstimate:
    """Training on what is pruned and what is still to be.

    pruned: the file of what is pruned. n_to_prune: traces that are still to be pruned; all are expected to pass.
    response_tokens: their mean length.
    """
    rundir, settings = RunDir(config.run_dir), config.train
    manifest = load_manifest(rundir.train)
    if manifest is not None and manifest.state == "complete":
        return StageEstimate("train", 0, gpu_hours=0.0)
    lengths = [
        (record.n_tokens_pruned or estimate_tokens(record.pruned_response)) + estimate_tokens(record.question)
        for record in (read_records(pruned, Pruning) if pruned.exists() else ())
        if isinstance(record, Pruning)
    ]
    total = sum(lengths) + n_to_prune * (_PROMPT_TOKENS + round(_PRUNED_SHARE * response_tokens))
    n = len(lengths) + n_to_prune
    n_used = round(min(n, settings.max_samples or n) * (1 - settings.validation_split))
    tokens = round(settings.epochs * n_used * total / n) if n else 0
    assumed = [f"responses that are not pruned yet become {1 - _PRUNED_SHARE:.0%} shorter"] if n_to_prune else []
    estimate = StageEstimate("train", n_used, input_tokens=tokens, notes=[*assumed, f"{settings.epochs:g} epochs"])
    if not tokens:
        return replace(estimate, gpu_hours=0.0)
    rate = config.estimate.training_tokens_per_second or _measure_training_rate(rundir)
    if rate:
        configured = config.estimate.training_tokens_per_second is not None
        return _add_hours(estimate, tokens / rate * config.report.gpus, _describe_rate(rate, configured, config))
    speed = find_speed("training", config.estimate.gpu, find_billions(config.student.model))
    if speed is None:
        return _leave_unknown(estimate, "training")
    return _add_hours(estimate, tokens / speed.tokens_per_second, _describe_speed(speed))


class _Length(Record):
    """The only field of a trace or sample that is needed here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n_tokens: int | None = None


def mean_tokens(*paths: Path) -> int | None:
    """Mean `n_tokens` of the records in these files; None if no record has it."""
    lengths = [record.n_tokens for path in paths for record in read_records(path, _Length, "raise") if record.n_tokens]
    return round(sum(lengths) / len(lengths)) if lengths else None


def count_lines(path: Path) -> int:
    return InputDigest.of(path).n_lines if path.exists() else 0


def _measure_sampling_rate(rundir: RunDir) -> float | None:
    """Generated tokens per second of this run directory's generate and eval, all GPUs together."""
    tokens, seconds = 0, 0.0
    for path in [rundir.traces, *sorted(rundir.eval.glob("*/*.jsonl"))]:
        manifest = load_manifest(path)
        if manifest is not None and manifest.stage.startswith(("generate", "eval")):
            tokens += sum(record.n_tokens or 0 for record in read_records(path, _Length, "raise"))
            seconds += manifest.seconds
    return tokens / seconds if tokens and seconds else None


def _measure_training_rate(rundir: RunDir) -> float | None:
    """Trained tokens per second of this run directory's train, all GPUs together."""
    path = rundir.train / "summary.json"
    if not path.exists():
        return None
    with explain_os_errors(path):
        rate: float = from_json(path.read_bytes())["tokens_per_s"]
    return rate


def _estimate_sampling(
    stage: str, planned: Sequence[PlannedResponses], config: Config, max_new_tokens: int
) -> StageEstimate:
    """The hours of these responses, all of one student's size; the models of an evaluation run one after the other."""
    unknown = sorted({responses.name for responses in planned if responses.n is None})
    if unknown:
        names = ", ".join(unknown)
        return StageEstimate(stage, notes=[f"the number of problems is unknown for {names}: give them a `limit`"])
    missing = [responses for responses in planned if responses.n]
    n, tokens = sum(one.n or 0 for one in missing), sum((one.n or 0) * one.tokens for one in missing)
    lengths = [f"{one.tokens:,} ({' '.join(filter(None, [one.model, one.name]))})" for one in missing]
    notes = [f"tokens per response: {', '.join(lengths)}"] if missing else []
    estimate = StageEstimate(stage, n, output_tokens=tokens, notes=notes)
    if not tokens:
        return replace(estimate, gpu_hours=0.0)
    configured = config.estimate.sampling_tokens_per_second
    rate = configured or _measure_sampling_rate(RunDir(config.run_dir))
    if rate:
        note = _describe_rate(rate, configured is not None, config)
        return _add_hours(estimate, tokens / rate * config.report.gpus, note)
    gpu, billions = config.estimate.gpu, find_billions(config.student.model)
    speed, single = (find_speed(task, gpu, billions) for task in ("sampling", "single"))
    if speed is None or single is None:
        return _leave_unknown(estimate, "sampling")
    # The GPUs wait for the last response of each model, which may be a loop up to the limit.
    tail_s = len({one.model for one in missing}) * max_new_tokens / single.tokens_per_second
    note = (
        f"{_describe_speed(speed)}; {tail_s / 3600:.1f} of the hours are for the last responses, if they reach "
        f"{max_new_tokens:,} tokens, at {single.tokens_per_second:.0f} tokens per second"
    )
    return _add_hours(estimate, tokens / speed.tokens_per_second + tail_s * config.report.gpus, note)


def _add_hours(estimate: StageEstimate, gpu_seconds: float, note: str) -> StageEstimate:
    return replace(estimate, gpu_hours=gpu_seconds / 3600, notes=[*estimate.notes, note])


def _leave_unknown(estimate: StageEstimate, kind: str) -> StageEstimate:
    """kind: the prefix of the key in `estimate`."""
    note = f"hours unknown: set estimate.{kind}_tokens_per_second"
    return replace(estimate, notes=[*estimate.notes, note])


def _describe_speed(speed: Speed) -> str:
    return f"{speed.tokens_per_second:,.0f} tokens per second on {speed.gpu} ({speed.source})"


def _describe_rate(rate: float, configured: bool, config: Config) -> str:
    source = "as configured" if configured else "as measured in this run directory, including start-up"
    return f"{rate:,.0f} tokens per second, {source}, on {config.report.gpus} GPU(s)"
