"""Stage generate: problems -> problems.jsonl -> traces.jsonl. The student samples chains of thought.

    {"id": "gsm8k-7#0", "problem_id": "gsm8k-7", "question": "...", "answer": "18", "response": "First, ...</think>...",
     "thinking": "First, ...", "summary": "...", "predicted": "18", "correct": true, "n_tokens": 412, ...}

Each response is graded and written as it finishes.
"""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from drp.config.sections import Config
from drp.errors import ConfigError
from drp.records import Failure, Trace
from drp.runs.manifest import Counts
from drp.runs.progress import say
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.response import CLOSING
from drp.student.rollouts import GradedResponse, Responder, Rollout, read_rollouts, write_problems

MANY = 20
"""So many responses without a closing tag, and none with one, are worth a remark."""


def run(config: Config, options: RunOptions = RunOptions()) -> Counts:
    """Sample the missing responses. Raises as `run_stage` does, and ConfigError if no problems are configured."""
    config = config.model_copy(update={"seed": config.data_seed})
    rundir = RunDir(config.run_dir)
    source = options.input or rundir.problems
    if options.input is None:
        if not config.generate.problems:
            raise ConfigError("`generate.problems` is empty: name at least one source, such as {name: gsm8k-train}")
        write_problems(config.generate.problems, source, config, options)
        if options.dry_run and not source.exists():
            return Counts()
    target = options.output or rundir.traces
    stage = Stage(
        name="generate",
        target=target,
        inputs=[source],
        fingerprint=build_fingerprint(config),
        read=lambda: read_rollouts(source, config.generate.sampling.n),
        work=partial(generate, config, target),
        fan_out=config.generate.sampling.n,
        twin=config.find_twin(target),
    )
    return run_stage(stage, options, config.max_failures)


def build_fingerprint(config: Config) -> dict[str, Any]:
    """The part of the configuration that decides the traces."""
    return {
        "student": config.student.identity(),
        "generate": {"sampling": config.generate.sampling.identity()},
        "seed": config.data_seed,
    }


def generate(config: Config, target: Path, rollouts: Iterator[Rollout]) -> Iterator[Trace | Failure]:
    """Sample and grade a response for each rollout. target: the artifact that earlier runs may have begun."""
    n_unclosed: int | None = 0  # None once a response has closed its thinking
    with closing(Responder(config.student, config.generate.sampling, config, targets=[target])) as responder:
        for _, outcome in responder.respond((None, rollout) for rollout in rollouts):
            if isinstance(outcome, Failure):
                yield outcome
                continue
            if CLOSING in outcome.completion.text:
                n_unclosed = None
            elif n_unclosed is not None:
                n_unclosed += 1
            yield build_trace(outcome, config.student.model)
    if n_unclosed and n_unclosed >= MANY:
        say(
            f"generate: none of {n_unclosed} responses closes its thinking, so none can be trained on. Does the model "
            "use other tags (student.thinking_tags), or is generate.sampling.max_new_tokens too low?"
        )


def build_trace(response: GradedResponse, model: str) -> Trace:
    """The record of a response. model: the student's name."""
    rollout, completion, parts, grade = response
    return Trace(
        **{**dict(rollout.problem), "id": rollout.id},
        problem_id=rollout.problem.id,
        response=completion.text,
        thinking=parts.thinking,
        summary=parts.summary,
        predicted=grade.predicted,
        correct=grade.correct,
        finish_reason=completion.finish_reason,
        n_tokens=completion.n_tokens,
        model=model,
    )
