"""Stage eval: benchmarks -> eval/MODEL/BENCHMARK.jsonl and eval/MODEL/summary.json.

    {"id": "gsm8k-7#0", "question": "...", "answer": "18", "response": "First, ...</think>...", "predicted": "18",
     "correct": true, "n_tokens": 412, "n_thinking_tokens": 350, "finish_reason": "stop"}

Each model samples responses to all benchmarks in one stream; each response is graded and written as it finishes. The
models are evaluated one after the other, so that only one is in memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from drp.config.sections import Config, EvalModel
from drp.errors import ConfigError, InputError
from drp.evaluation.score import write_summary
from drp.records import Failure, Sample
from drp.runs.progress import say
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, Stage, run_stages
from drp.student.rollouts import GradedResponse, Responder, Rollout, read_rollouts, write_problems


def run(config: Config, options: RunOptions = RunOptions()) -> None:
    """Evaluate each model on each benchmark, as far as that is not done yet.

    Raises as `run_stage` does, ConfigError for no or duplicate benchmarks, and InputError for a missing trained model.
    """
    rundir = RunDir(config.run_dir)
    _check_benchmarks(config)
    if config.eval.stop_at_cutoff and config.eval.cutoff_tokens < config.eval.sampling.max_new_tokens:
        say(
            f"eval: responses stop at {config.eval.cutoff_tokens} tokens (eval.stop_at_cutoff), so the policy `none`, "
            "without a cutoff, is not measured; its rows show stopped responses"
        )
    for benchmark in config.eval.benchmarks:
        write_problems([benchmark], rundir.benchmarks / f"{benchmark.name}.jsonl", config, options)
    for name, model in list_models(config).items():
        _evaluate_model(name, model, config, options)


def list_models(config: Config) -> dict[str, EvalModel]:
    """The models to evaluate, by name: `base` and, unless the configuration lists others, `drp`."""
    if config.eval.models is not None:
        return config.eval.models
    base = EvalModel(model=config.student.model, revision=config.student.revision)
    return {"base": base, "drp": EvalModel(model=str(RunDir(config.run_dir).merged))}


def _check_benchmarks(config: Config) -> None:
    names = [benchmark.name for benchmark in config.eval.benchmarks]
    if not names:
        raise ConfigError("`eval.benchmarks` is empty: name at least one, such as {name: math500}")
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"`eval.benchmarks`: duplicate {', '.join(sorted(duplicates))}; give each a name of its own")


def _evaluate_model(name: str, model: EvalModel, config: Config, options: RunOptions) -> None:
    rundir = RunDir(config.run_dir)
    folder = (options.output or rundir.eval) / name
    trained = is_trained_here(config, model)
    made_here = trained or model.adapter == str(rundir.train / "adapter")
    made_by = [rundir.train / "summary.json"] if made_here else []
    if trained and not options.dry_run and not rundir.merged.exists():
        raise InputError(f"eval: {rundir.merged} is missing; run `drp train` first, or name models in eval.models")
    stages = []
    for benchmark in config.eval.benchmarks:
        problems = options.input or rundir.benchmarks / f"{benchmark.name}.jsonl"
        target = folder / f"{benchmark.name}.jsonl"
        if options.dry_run and not all(path.exists() for path in [problems, *made_by]):
            continue
        stage: Stage[Rollout, Sample] = Stage(
            name=f"eval {name} {benchmark.name}",
            target=target,
            inputs=[problems, *made_by],
            fingerprint=build_fingerprint(config, model),
            read=partial(read_rollouts, problems, config.eval.sampling.n),
            fan_out=config.eval.sampling.n,
            twin=config.find_twin(target),
        )
        stages.append(stage)
    work = partial(evaluate, config, model, [stage.target for stage in stages])
    run_stages(f"eval {name}", stages, work, options, config.max_failures)
    if not options.dry_run:
        write_summary(folder, config.eval.cutoff_tokens, config.seed)


def build_fingerprint(config: Config, model: EvalModel) -> dict[str, Any]:
    """The part of the configuration that decides a model's samples."""
    fingerprint = {
        "model": "trained here" if is_trained_here(config, model) else model.identity(),
        "eval": {"sampling": config.eval.choose_sampling().identity()},
        "seed": config.seed,
    }
    prompt = model.as_student(config.student).changed_prompt()
    return {**fingerprint, "student": prompt} if prompt else fingerprint


def is_trained_here(config: Config, model: EvalModel) -> bool:
    """Whether the model is the one that this run directory's train makes."""
    return Path(model.model) == RunDir(config.run_dir).merged


def evaluate(
    config: Config, model: EvalModel, targets: Sequence[Path], rollouts: Iterator[tuple[int, Rollout]]
) -> Iterator[tuple[int, Sample | Failure]]:
    """Sample and grade a response for each rollout. Each comes with the position of its benchmark.

    targets: the artifacts that earlier runs may have begun.
    """
    student = model.as_student(config.student)
    responder = Responder(student, config.eval.choose_sampling(), config, targets=targets, adapter=model.adapter)
    with closing(responder):
        for place, outcome in responder.respond(rollouts):
            yield place, outcome if isinstance(outcome, Failure) else build_sample(outcome)


def build_sample(response: GradedResponse) -> Sample:
    """The record of a response."""
    rollout, completion, _, grade = response
    return Sample(
        id=rollout.id,
        question=rollout.problem.question,
        answer=rollout.problem.answer,
        response=completion.text,
        predicted=grade.predicted,
        correct=grade.correct,
        n_tokens=completion.n_tokens,
        n_thinking_tokens=completion.n_thinking_tokens,
        finish_reason=completion.finish_reason,
    )
