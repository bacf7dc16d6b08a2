"""Generate, train and eval: GPU-hours = tokens / tokens per second / 3600 * GPUs (`report.gpus`).

Tokens per second are those of the configuration, else those that this run directory's own stages reached. If there are
neither, the hours are left unknown.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict
from pydantic_core import from_json

from drp.config.sections import Config, SourceSettings
from drp.estimate.table import StageEstimate
from drp.problems import BENCHMARKS, load_problems
from drp.records import Problem, Pruning, Record, Trace
from drp.runs.jsonl import explain_os_errors, read_records
from drp.runs.manifest import InputDigest, load_manifest
from drp.runs.rundir import RunDir
from drp.teachers.llm.division import estimate_tokens

PAPER_TOKENS = {"gsm8k-train": 917, "gsm8k": 917, "prm12k": 2486, "math500": 2486, "aime24": 8674, "amc23": 4845}
"""Mean length of R1-Distill-Qwen-7B's responses (paper, Table 1); for training sets, that of their benchmark."""

_PRUNED_SHARE = 0.5  # expected length of a pruned response, as a share of the original
_PROMPT_TOKENS = 80  # expected length of a question
_THINKING_SHARE = 0.7  # of a response
_SENTENCE = "There are 12 bags with 5 apples each, so that makes 12 * 5 = 60 apples in all of the bags.\n\n"


@dataclass(frozen=True)
class PlannedResponses:
    """The responses to sample for the problems of one source."""

    name: str
    n: int | None
    """None if the number of problems is unknown."""
    tokens: int
    """Expected length of one response."""


def plan_sampling(config: Config, limit: int | None) -> list[PlannedResponses]:
    """All responses of `generate`, including those that are written already. limit: problems at most."""
    settings = config.generate
    tokens = mean_tokens(RunDir(config.run_dir).traces) or config.estimate.tokens_per_response
    return _plan_responses(settings.problems, settings.sampling.n, config.seed, limit, tokens)


def estimate_generate(config: Config, planned: Sequence[PlannedResponses]) -> StageEstimate:
    traces = RunDir(config.run_dir).traces
    manifest = load_manifest(traces)
    if manifest is not None and manifest.stage != "generate":
        return StageEstimate("generate", notes=[f"the traces come from `drp {manifest.stage}`"])
    return _estimate_sampling("generate", planned, count_lines(traces), config)


def estimate_eval(config: Config, models: Collection[str], limit: int | None) -> StageEstimate:
    """Every model on every benchmark.

    Expected length of a response: the mean of what any model has already written for the benchmark, else the paper's
    for its base model, else for a benchmark that the paper does not have the mean of the traces.
    """
    settings, folder = config.eval, RunDir(config.run_dir).eval
    planned, n_done, other = list[PlannedResponses](), 0, mean_tokens(RunDir(config.run_dir).traces)
    for benchmark in settings.benchmarks:
        name = f"{benchmark.name}.jsonl"
        tokens = mean_tokens(*folder.glob(f"*/{name}")) or config.estimate.tokens_per_response
        [responses] = _plan_responses([benchmark], settings.sampling.n, config.seed, limit, tokens, other)
        for model in models:
            planned.append(responses)
            n_done += count_lines(folder / model / name)
    return _estimate_sampling("eval", planned, n_done, config)


def estimate_train(config: Config, n_to_prune: int, response_tokens: int) -> StageEstimate:
    """Training on what is pruned and what is still to be.

    n_to_prune: traces that are still to be pruned; all are expected to pass. response_tokens: their mean length.
    """
    rundir, settings = RunDir(config.run_dir), config.train
    manifest = load_manifest(rundir.train)
    if manifest is not None and manifest.state == "complete":
        return StageEstimate("train", 0, gpu_hours=0.0)
    lengths = [
        (record.n_tokens_pruned or estimate_tokens(record.pruned_response)) + estimate_tokens(record.question)
        for record in (read_records(rundir.pruned, Pruning) if rundir.pruned.exists() else ())
        if isinstance(record, Pruning)
    ]
    total = sum(lengths) + n_to_prune * (_PROMPT_TOKENS + round(_PRUNED_SHARE * response_tokens))
    n = len(lengths) + n_to_prune
    n_used = round(min(n, settings.max_samples or n) * (1 - settings.validation_split))
    tokens = round(settings.epochs * n_used * total / n) if n else 0
    assumed = [f"responses that are not pruned yet become {_PRUNED_SHARE:.0%} shorter"] if n_to_prune else []
    estimate = StageEstimate("train", n_used, input_tokens=tokens, notes=[*assumed, f"{settings.epochs:g} epochs"])
    return _add_hours(estimate, tokens, find_training_rate(config), "training", config)


def make_typical_trace(n_tokens: int) -> Trace:
    """A trace that stands for a response of this length, seven tenths of which are thinking."""
    n_sentences = max(1, round(n_tokens / estimate_tokens(_SENTENCE)))
    n_thinking = max(1, round(_THINKING_SHARE * n_sentences))
    return Trace(
        id="typical#0",
        problem_id="typical",
        question=4 * _SENTENCE,
        answer="60",
        response="",
        thinking=(n_thinking * _SENTENCE).strip(),
        summary=((n_sentences - n_thinking) * _SENTENCE).strip(),
        predicted="60",
        correct=True,
        finish_reason="stop",
        n_tokens=n_tokens,
        model="typical",
    )


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


def find_sampling_rate(config: Config) -> float | None:
    """Generated tokens per second: as configured, else as measured in this run directory's generate and eval."""
    if config.estimate.sampling_tokens_per_second:
        return config.estimate.sampling_tokens_per_second
    rundir, tokens, seconds = RunDir(config.run_dir), 0, 0.0
    for path in [rundir.traces, *sorted(rundir.eval.glob("*/*.jsonl"))]:
        manifest = load_manifest(path)
        if manifest is not None and manifest.stage.startswith(("generate", "eval")):
            tokens += sum(record.n_tokens or 0 for record in read_records(path, _Length, "raise"))
            seconds += manifest.seconds
    return tokens / seconds if tokens and seconds else None


def find_training_rate(config: Config) -> float | None:
    """Trained tokens per second: as configured, else as measured in this run directory's train."""
    path = RunDir(config.run_dir).train / "summary.json"
    if config.estimate.training_tokens_per_second or not path.exists():
        return config.estimate.training_tokens_per_second
    with explain_os_errors(path):
        rate: float = from_json(path.read_bytes())["tokens_per_s"]
    return rate


def _plan_responses(
    sources: Sequence[SourceSettings],
    n_samples: int,
    seed: int,
    limit: int | None,
    tokens: int | None,
    other_tokens: int | None = None,
) -> list[PlannedResponses]:
    """The responses for each source. limit: problems of all sources together, at most.

    tokens: expected length of a response; None: the paper's, or `other_tokens` for a source that the paper does not
    have.
    """
    planned, left = [], limit
    other = other_tokens or PAPER_TOKENS["math500"]
    for source in sources:
        count = _count_problems(source, seed)
        if left is not None:
            count = left if count is None else min(count, left)
            left -= count
        n = None if count is None else n_samples * count
        planned.append(PlannedResponses(source.name, n, tokens or PAPER_TOKENS.get(source.name, other)))
    return planned


def _count_problems(source: SourceSettings, seed: int) -> int | None:
    """Number of problems of a source; None for a data set on the hub of unknown size."""
    if source.path is not None:
        return sum(isinstance(problem, Problem) for problem in load_problems([source], seed))
    known = None if source.dataset else BENCHMARKS.get(source.name)
    return min(filter(None, (known.n_problems if known else None, source.limit)), default=None)


def _estimate_sampling(stage: str, planned: Sequence[PlannedResponses], n_done: int, config: Config) -> StageEstimate:
    known = [responses.n for responses in planned if responses.n is not None]
    if len(known) < len(planned):
        names = ", ".join(sorted({responses.name for responses in planned if responses.n is None}))
        return StageEstimate(stage, notes=[f"the number of problems is unknown for {names}: give them a `limit`"])
    n_all, n_tokens = sum(known), sum((responses.n or 0) * responses.tokens for responses in planned)
    n_left = max(0, n_all - n_done)
    tokens = round(n_tokens * n_left / n_all) if n_all else 0
    lengths = {responses.name: f"{responses.tokens:,} ({responses.name})" for responses in planned}
    notes = [f"tokens per response: {', '.join(lengths.values())}"] if n_left else []
    estimate = StageEstimate(stage, n_left, output_tokens=tokens, notes=notes)
    return _add_hours(estimate, tokens, find_sampling_rate(config), "sampling", config)


def _add_hours(estimate: StageEstimate, tokens: int, rate: float | None, kind: str, config: Config) -> StageEstimate:
    """The estimate with its GPU-hours. rate: tokens per second; kind: the prefix of its key in `estimate`."""
    if not tokens:
        return replace(estimate, gpu_hours=0.0)
    if rate is None:
        note = f"hours unknown: set estimate.{kind}_tokens_per_second"
        return replace(estimate, notes=[*estimate.notes, note])
    configured = getattr(config.estimate, f"{kind}_tokens_per_second")
    source = "as configured" if configured else "as measured in this run directory, including start-up"
    note = f"{rate:,.0f} tokens per second, {source}, on {config.report.gpus} GPU(s)"
    return replace(estimate, gpu_hours=tokens / rate / 3600 * config.report.gpus, notes=[*estimate.notes, note])
