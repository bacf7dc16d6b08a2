"""Problems in, graded responses out: what `generate` and `eval` share.

A rollout is one response to draw; its id is `{problem id}#{sample}`.
"""

from collections.abc import Iterator
from pathlib import Path

from drp.config.sections import Config, SourceSettings
from drp.problems import load_problems
from drp.records import Failure, Problem, Record
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.base import Completion, Rejection, Request, Sampler
from drp.student.response import Tokenizer, prompt_ids


class Rollout(Record):
    """One response to draw for a problem."""

    problem: Problem


def write_problems(
    sources: list[SourceSettings], target: Path, config: Config, options: RunOptions = RunOptions()
) -> Counts:
    """Load problems into a JSONL artifact of their own, so that what follows goes by a fixed file."""
    stage = Stage(
        name="problems",
        target=target,
        inputs=[source.path for source in sources if source.path is not None and source.path.is_file()],
        fingerprint={"problems": [source.identity() for source in sources], "seed": config.seed},
        read=lambda: load_problems(sources, config.seed),
        work=lambda problems: (problem for problem in problems),
    )
    return run_stage(stage, options, config.max_failures)


def read_rollouts(path: Path, n: int) -> Iterator[Rollout | Failure]:
    """`n` rollouts of each problem."""
    for problem in read_records(path, Problem):
        if isinstance(problem, Failure):
            yield problem
        else:
            yield from (Rollout(id=f"{problem.id}#{k}", problem=problem) for k in range(n))


def draw(
    rollouts: Iterator[Rollout], sampler: Sampler, tokenizer: Tokenizer
) -> Iterator[tuple[Rollout, Completion] | Failure]:
    """Each rollout with its response, as it finishes; those that the engine cannot serve as failures."""
    in_flight: dict[str, Rollout] = {}

    def ask() -> Iterator[Request]:
        for rollout in rollouts:
            in_flight[rollout.id] = rollout
            yield Request(rollout.id, prompt_ids(tokenizer, rollout.problem.question))

    for answer in sampler.sample(ask()):
        rollout = in_flight.pop(answer.id)
        if isinstance(answer, Rejection):
            yield Failure(id=answer.id, error="Rejection", reason=answer.reason, message=answer.message, attempts=1)
        else:
            yield rollout, answer
