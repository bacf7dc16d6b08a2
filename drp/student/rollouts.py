"""Problems in, graded responses out: what the stages `generate` and `eval` share.

A rollout is one response to sample for a problem. Its id is `{problem id}#{sample}`, such as `gsm8k-7#0`.

    write_problems   data sets -> problems.jsonl
    read_rollouts    problems.jsonl -> n rollouts for each problem
    Responder        rollouts -> graded responses
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from drp.config.sections import Config, EvalModel, SamplingSettings, SourceSettings
from drp.grading import Grade, Grader
from drp.problems import load_problems
from drp.records import Failure, Problem, Record
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.base import Completion, Rejection, Sampler, SamplingRequest
from drp.student.response import ChatFormat, Parts, load_format, split_response
from drp.student.sampler import open_sampler


class Rollout(Record):
    """One response to sample for a problem."""

    problem: Problem


class GradedResponse(NamedTuple):
    """The student's response to a rollout: as generated, split into thinking and summary, and graded."""

    rollout: Rollout
    completion: Completion
    parts: Parts
    grade: Grade


def write_problems(
    sources: list[SourceSettings], target: Path, config: Config, options: RunOptions = RunOptions()
) -> Counts:
    """Load problems into a JSONL artifact, so that later runs use the same problems even if the source changes."""
    stage = Stage(
        name="problems",
        target=target,
        inputs=[source.path for source in sources if source.path is not None and source.path.is_file()],
        fingerprint={"problems": [source.identity() for source in sources], "seed": config.seed},
        read=lambda: load_problems(sources, config.seed),
        work=lambda problems: (problem for problem in problems),
        twin=config.find_twin(target),
    )
    return run_stage(stage, options, config.max_failures)


def read_rollouts(path: Path, n: int) -> Iterator[Rollout | Failure]:
    """`n` rollouts for each problem of a problems.jsonl, and a Failure for each line that is not a problem."""
    for problem in read_records(path, Problem):
        if isinstance(problem, Failure):
            yield problem
        else:
            yield from (Rollout(id=f"{problem.id}#{k}", problem=problem) for k in range(n))


class Responder:
    """Samples and grades the responses of one model.

    The engine is started when the first rollout is asked for, so that a run with nothing left to do loads no model. All
    calls of `respond` share it.
    """

    def __init__(self, model: EvalModel, sampling: SamplingSettings, config: Config) -> None:
        self._model, self._sampling, self._config = model, sampling, config
        self._stack = ExitStack()
        self._grader = self._stack.enter_context(Grader(config.grading))
        self._sampler: Sampler | None = None

    def respond(self, rollouts: Iterator[Rollout]) -> Iterator[GradedResponse | Failure]:
        """Yield each rollout's response as it finishes; a Failure for a rollout that the engine rejects."""
        if self._sampler is None:
            self._sampler = self._stack.enter_context(closing(self._open_sampler()))
        for outcome in draw(rollouts, self._sampler, self._sampler.format):
            yield outcome if isinstance(outcome, Failure) else grade_response(*outcome, self._grader)

    def close(self) -> None:
        """Stop the engine and the grading workers."""
        self._stack.close()

    def _open_sampler(self) -> Sampler:
        return open_sampler(
            self._model.model,
            self._config.engine,
            self._sampling,
            self._config.seed,
            revision=self._model.revision,
            trust_remote_code=self._config.student.trust_remote_code,
            format=load_format(self._model.as_student(self._config.student), self._model.adapter),
            adapter=self._model.adapter,
        )


def draw(
    rollouts: Iterator[Rollout], sampler: Sampler, format: ChatFormat
) -> Iterator[tuple[Rollout, Completion] | Failure]:
    """Yield each rollout with its response as it finishes; a Failure for a rollout that the engine rejects."""
    in_flight: dict[str, Rollout] = {}

    def requests() -> Iterator[SamplingRequest]:
        for rollout in rollouts:
            in_flight[rollout.id] = rollout
            yield SamplingRequest(rollout.id, format.prompt_ids(rollout.problem.question))

    for answer in sampler.sample(requests()):
        rollout = in_flight.pop(answer.id)
        if isinstance(answer, Rejection):
            yield Failure(id=answer.id, error="Rejection", reason=answer.reason, message=answer.message, attempts=1)
        else:
            yield rollout, answer


def grade_response(rollout: Rollout, completion: Completion, grader: Grader) -> GradedResponse:
    """Compare the answer in the response's summary with the problem's gold answer."""
    parts = split_response(completion.text)
    return GradedResponse(rollout, completion, parts, grader.grade(parts.summary, rollout.problem.answer))
