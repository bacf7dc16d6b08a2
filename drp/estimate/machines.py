"""Generate, train and eval: GPU-hours = tokens / tokens a second / 3600 * GPUs (`report.gpus`).

Tokens a second are the configuration's, else those that this run directory's own stages reached; where there are
neither, hours are not given rather than made up.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict
from pydantic_core import from_json

from drp.config.sections import Config, SourceSettings
from drp.estimate.table import Line
from drp.problems import load_problems
from drp.records import Problem, Pruning, Record, Trace
from drp.runs.jsonl import digest, explain_os_errors, read_records
from drp.runs.manifest import load_manifest
from drp.runs.rundir import RunDir
from drp.teachers.llm.division import foresee_tokens

SIZES = {"gsm8k-train": 7473, "gsm8k": 1319, "prm12k": 12000, "math500": 500, "aime24": 30, "amc23": 40}
"""Problems of the known benchmarks, so that counting them needs no hub."""

PAPER_TOKENS = {"gsm8k-train": 917, "gsm8k": 917, "prm12k": 2486, "math500": 2486, "aime24": 8674, "amc23": 4845}
"""Mean length of R1-Distill-Qwen-7B's responses (paper, Table 1); training sets as their benchmarks."""

_THINKING_SHARE = 0.7
_SENTENCE = "There are 12 bags with 5 apples each, so that makes 12 * 5 = 60 apples in all of the bags.\n\n"


@dataclass(frozen=True)
class Batch:
    """Responses to one source's problems. n: None where nobody knows how many."""

    name: str
    n: int | None
    tokens: int


def plan_responses(
    sources: Sequence[SourceSettings],
    n_samples: int,
    seed: int,
    limit: int | None,
    tokens: int | None,
    other_tokens: int | None = None,
) -> list[Batch]:
    """What `sources` come to. limit: problems in all, at most.

    tokens: length of a response; None: the paper's, and for what the paper does not have `other_tokens`.
    """
    batches, left = [], limit
    other = other_tokens or PAPER_TOKENS["math500"]
    for source in sources:
        count = count_problems(source, seed)
        if left is not None:
            count = left if count is None else min(count, left)
            left -= count
        n = None if count is None else n_samples * count
        batches.append(Batch(source.name, n, tokens or PAPER_TOKENS.get(source.name, other)))
    return batches


def count_problems(source: SourceSettings, seed: int) -> int | None:
    """Problems of a source; None for a data set of the hub that nobody knows the size of."""
    if source.path is not None:
        return sum(isinstance(problem, Problem) for problem in load_problems([source], seed))
    size = None if source.dataset else SIZES.get(source.name)
    return min(filter(None, (size, source.limit)), default=None)


class _Length(Record):
    """The only field of a trace or sample that is needed here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n_tokens: int | None = None


def count_lines(path: Path) -> int:
    return digest(path).n_lines if path.exists() else 0


def mean_tokens(*paths: Path) -> int | None:
    """Mean `n_tokens` of all records that have it."""
    lengths = [record.n_tokens for path in paths for record in read_records(path, _Length, "raise") if record.n_tokens]
    return round(sum(lengths) / len(lengths)) if lengths else None


def make_typical_trace(n_tokens: int) -> Trace:
    """A stand-in for a response of this length, of which seven tenths are thinking."""
    n_sentences = max(1, round(n_tokens / foresee_tokens(_SENTENCE)))
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


_PRUNED_SHARE = 0.5
_PROMPT_TOKENS = 80


def plan_sampling(config: Config, limit: int | None) -> list[Batch]:
    """The responses of `generate`, those that are written already included."""
    settings = config.generate
    tokens = mean_tokens(RunDir(config.run_dir).traces) or config.estimate.tokens_per_response
    return plan_responses(settings.problems, settings.sampling.n, config.seed, limit, tokens)


def estimate_generate(config: Config, batches: Sequence[Batch]) -> Line:
    traces = RunDir(config.run_dir).traces
    manifest = load_manifest(traces)
    if manifest is not None and manifest.stage != "generate":
        return Line("generate", notes=[f"the traces come from `drp {manifest.stage}`"])
    return _sample("generate", batches, count_lines(traces), config)


def estimate_eval(config: Config, models: Collection[str], limit: int | None) -> Line:
    """Every model on every benchmark, each as long as what is measured there of any model; else as the paper's base, or
    for a benchmark that the paper does not have as the traces."""
    settings, folder = config.eval, RunDir(config.run_dir).eval
    batches, n_done, other = list[Batch](), 0, mean_tokens(RunDir(config.run_dir).traces)
    for benchmark in settings.benchmarks:
        name = f"{benchmark.name}.jsonl"
        tokens = mean_tokens(*folder.glob(f"*/{name}")) or config.estimate.tokens_per_response
        [batch] = plan_responses([benchmark], settings.sampling.n, config.seed, limit, tokens, other)
        for model in models:
            batches.append(batch)
            n_done += count_lines(folder / model / name)
    return _sample("eval", batches, n_done, config)


def estimate_train(config: Config, n_to_come: int, response_tokens: int) -> Line:
    """n_to_come: traces that are still to be pruned, all of which are taken to pass; response_tokens: their mean."""
    rundir, settings = RunDir(config.run_dir), config.train
    manifest = load_manifest(rundir.train)
    if manifest is not None and manifest.state == "complete":
        return Line("train", 0, gpu_hours=0.0)
    lengths = [
        (record.n_tokens_pruned or foresee_tokens(record.pruned_response)) + foresee_tokens(record.question)
        for record in (read_records(rundir.pruned, Pruning) if rundir.pruned.exists() else ())
        if isinstance(record, Pruning)
    ]
    total = sum(lengths) + n_to_come * (_PROMPT_TOKENS + round(_PRUNED_SHARE * response_tokens))
    n = len(lengths) + n_to_come
    n_used = round(min(n, settings.max_samples or n) * (1 - settings.validation_split))
    tokens = round(settings.epochs * n_used * total / n) if n else 0
    assumed = [f"what is not pruned yet becomes {_PRUNED_SHARE:.0%} shorter"] if n_to_come else []
    line = Line("train", n_used, input_tokens=tokens, notes=[*assumed, f"{settings.epochs:g} epochs"])
    return _time(line, tokens, find_training_rate(config), "training", config)


def find_sampling_rate(config: Config) -> float | None:
    """Generated tokens a second: as configured, else of this run directory's own generate and eval."""
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
    """Tokens trained on a second: as configured, else of this run directory's own training."""
    path = RunDir(config.run_dir).train / "summary.json"
    if config.estimate.training_tokens_per_second or not path.exists():
        return config.estimate.training_tokens_per_second
    with explain_os_errors(path):
        rate: float = from_json(path.read_bytes())["tokens_per_s"]
    return rate


def _sample(stage: str, batches: Sequence[Batch], n_done: int, config: Config) -> Line:
    known = [batch.n for batch in batches if batch.n is not None]
    if len(known) < len(batches):
        names = ", ".join(sorted({batch.name for batch in batches if batch.n is None}))
        return Line(stage, notes=[f"nobody knows how many problems these have: {names}; give them a `limit`"])
    n_all, n_tokens = sum(known), sum((batch.n or 0) * batch.tokens for batch in batches)
    n_left = max(0, n_all - n_done)
    tokens = round(n_tokens * n_left / n_all) if n_all else 0
    lengths = {batch.name: f"{batch.tokens:,} ({batch.name})" for batch in batches}
    notes = [f"tokens of a response: {', '.join(lengths.values())}"] if n_left else []
    line = Line(stage, n_left, output_tokens=tokens, notes=notes)
    return _time(line, tokens, find_sampling_rate(config), "sampling", config)


def _time(line: Line, tokens: int, rate: float | None, kind: str, config: Config) -> Line:
    if not tokens:
        return replace(line, gpu_hours=0.0)
    if rate is None:
        return replace(line, notes=[*line.notes, f"hours unknown: set estimate.{kind}_tokens_per_second"])
    configured = getattr(config.estimate, f"{kind}_tokens_per_second")
    source = "as configured" if configured else "as in this run directory, starting included"
    note = f"{rate:,.0f} tokens a second, {source}, on {config.report.gpus} GPU(s)"
    return replace(line, gpu_hours=tokens / rate / 3600 * config.report.gpus, notes=[*line.notes, note])


# FOLDED DOC of estimation.responses:
# How many responses a run will have and how long they are: from what is there, else as configured and assumed.
