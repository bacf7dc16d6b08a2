"""Stage generate: problems -> problems.jsonl -> traces.jsonl. The student samples chains of thought.

Each response is graded and written as it finishes.
"""

from collections.abc import Iterator
from contextlib import closing

from drp.config.sections import Config
from drp.errors import ConfigError
from drp.grading import Grader
from drp.records import Failure, Trace
from drp.runs.manifest import Counts
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.base import Completion
from drp.student.response import load_tokenizer, split_response
from drp.student.rollouts import Rollout, draw, read_rollouts, write_problems
from drp.student.sampler import open_sampler


def run(config: Config, options: RunOptions = RunOptions()) -> Counts:
    rundir = RunDir(config.run_dir)
    source = options.input or rundir.problems
    if options.input is None:
        require_problems(config)
        write_problems(config.generate.problems, source, config, options)
        if options.dry_run and not source.exists():
            return Counts()
    stage = Stage(
        name="generate",
        target=options.output or rundir.traces,
        inputs=[source],
        fingerprint={
            "student": config.student.identity(),
            "generate": {"sampling": config.generate.sampling.identity()},
            "seed": config.seed,
        },
        read=lambda: read_rollouts(source, config.generate.sampling.n),
        work=lambda rollouts: generate(config, rollouts),
        fan_out=config.generate.sampling.n,
    )
    return run_stage(stage, options, config.max_failures)


def require_problems(config: Config) -> None:
    if not config.generate.problems:
        raise ConfigError("`generate.problems` is empty: name at least one source, such as {name: gsm8k-train}")


def generate(config: Config, rollouts: Iterator[Rollout]) -> Iterator[Trace | Failure]:
    """Draw and grade; the engine starts here, so a run with nothing to do never starts it."""
    student, sampling = config.student, config.generate.sampling
    # The engine first: it tells at once where there is no such model.
    sampler = open_sampler(
        student.model,
        config.engine,
        sampling,
        config.seed,
        revision=student.revision,
        trust_remote_code=student.trust_remote_code,
    )
    with closing(sampler), Grader(config.grading) as grader:
        tokenizer = load_tokenizer(student.model, student.revision, student.trust_remote_code)
        for outcome in draw(rollouts, sampler, tokenizer):
            yield outcome if isinstance(outcome, Failure) else build_trace(*outcome, student.model, grader)


def build_trace(rollout: Rollout, completion: Completion, model: str, grader: Grader) -> Trace:
    problem = rollout.problem
    parts = split_response(completion.text)
    grade = grader.grade(parts.summary, problem.answer)
    return Trace(
        **{**dict(problem), "id": rollout.id},
        problem_id=problem.id,
        response=completion.text,
        thinking=parts.thinking,
        summary=parts.summary,
        predicted=grade.predicted,
        correct=grade.correct,
        finish_reason=completion.finish_reason,
        n_tokens=completion.n_tokens,
        model=model,
    )
