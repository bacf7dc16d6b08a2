"""Problems in, graded responses out: what the stages `generate` and `eval` share.

A rollout is one response to sample for a problem. Its id is `{problem id}#{sample}`, such as `gsm8k-7#0`.

    write_problems   data sets -> problems.jsonl
    read_rollouts    problems.jsonl -> n rollouts for each problem
    Responder        rollouts -> graded responses
"""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from drp.config.sections import Config, SamplingSettings, SourceSettings, StudentSettings
from drp.grading import Grade, Grader
from drp.problems import load_problems
from drp.records import Failure, Problem, Record
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.base import Completion, Rejection, Sampler, SamplingRequest, derive_seed
from drp.student.engines import open_engines
from drp.student.response import ChatFormat, Parts, split_response

Place = TypeVar("Place", bound=Hashable)


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

    student: the model and how it is prompted. targets: the artifacts to which the responses are written. Their length
    becomes a part of the random seed, so that a resumed run does not repeat random numbers of an earlier one, which
    would make two samples of one problem equal.
    """

    def __init__(
        self,
        student: StudentSettings,
        sampling: SamplingSettings,
        config: Config,
        *,
        targets: Sequence[Path] = (),
        adapter: str | None = None,
    ) -> None:
        self._student, self._sampling, self._config, self._adapter = student, sampling, config, adapter
        self._targets = targets
        self._stack = ExitStack()
        self._grader = self._stack.enter_context(Grader(config.grading))
        self._sampler: Sampler | None = None

    def respond(self, rollouts: Iterator[tuple[Place, Rollout]]) -> Iterator[tuple[Place, GradedResponse | Failure]]:
        """Yield each rollout's response as it is graded; a Failure for a rollout that the engine rejects.

        The place, for example of a benchmark in a list, comes back with the outcome. Responses are graded while the
        engine works on the others.
        """
        if self._sampler is None:
            self._sampler = self._stack.enter_context(closing(self._open_sampler()))
        with closing(draw(rollouts, self._sampler, self._sampler.format)) as drawn:  # type: ignore[type-var]
            yield from grade_responses(drawn, self._grader)

    def close(self) -> None:
        """Stop the engine and the grading workers."""
        self._stack.close()

    def _open_sampler(self) -> Sampler:
        n_done = sum(_count_lines(path) for path in self._targets)
        seed = derive_seed(self._config.seed, f"after {n_done}") if n_done else self._config.seed
        return open_engines(self._student, self._config.engine, self._sampling, seed, adapter=self._adapter)


def draw(
    rollouts: Iterator[tuple[Place, Rollout]], sampler: Sampler, format: ChatFormat
) -> Iterator[tuple[Place, Rollout, Completion | Rejection]]:
    """Yield each rollout with its response, as it finishes."""
    in_flight: dict[str, tuple[Place, Rollout]] = {}

    def requests() -> Iterator[SamplingRequest]:
        for place, rollout in rollouts:
            # Two benchmarks may have problems with the same id.
            id = rollout.id if rollout.id not in in_flight else f"{rollout.id} of {place}"
            in_flight[id] = place, rollout
            yield SamplingRequest(id, format.prompt_ids(rollout.problem.question))

    with closing(sampler.sample(requests())) as stream:  # type: ignore[type-var]
        for answer in stream:
            yield *in_flight.pop(answer.id), answer


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def grade_responses(
    drawn: Iterator[tuple[Place, Rollout, Completion | Rejection]], grader: Grader
) -> Iterator[tuple[Place, GradedResponse | Failure]]:
    """Compare the answer in each response's summary with the problem's gold answer. The slow ones are compared in
    worker processes, and come back when they are done."""
    in_flight: dict[int, tuple[Place, Rollout, Completion, Parts]] = {}
    rejected: deque[tuple[Place, Failure]] = deque()

    def questions() -> Iterator[tuple[int, str, str]]:
        for number, (place, rollout, answer) in enumerate(drawn):
            if isinstance(answer, Rejection):
                reason, message = answer.reason, answer.message
                failure = Failure(id=rollout.id, error="Rejection", reason=reason, message=message, attempts=1)
                rejected.append((place, failure))
                continue
            parts = split_response(answer.text)
            in_flight[number] = place, rollout, answer, parts
            yield number, parts.summary, rollout.problem.answer

    for number, grade in grader.grade_stream(questions()):
        while rejected:
            yield rejected.popleft()
        place, rollout, completion, parts = in_flight.pop(number)
        yield place, GradedResponse(rollout, completion, parts, grade)
    yield from rejected
