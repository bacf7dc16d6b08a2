"""Word problems whose answers are computed, one arithmetic step at a time.

A `Problem` carries the question and the `Step`s that solve it, so that a trace can be written from it and an answer
can be checked without parsing English. `scripts.tiny.families` holds the kinds of problem; this module holds what they
share, and `draw`, which makes distinct ones. Written to disk as

    {"id": "tiny-train-17", "question": "Mia has 4 boxes ...", "answer": "29", "source": "tiny-containers"}
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
}


@dataclass(frozen=True)
class Step:
    """One computation: `a op b = result`, and the English around it (clauses without capital or full stop)."""

    a: int
    op: str
    b: int
    result: int
    purpose: str
    """What the step finds: "how many apples are in the boxes"."""
    reason: str
    """The fact that it uses: "there are 4 boxes with 6 apples each"."""
    states: str
    """What it shows: "there are 24 apples in the boxes"."""

    @property
    def equation(self) -> str:
        return f"{self.a} {self.op} {self.b} = {self.result}"


@dataclass(frozen=True)
class Problem:
    """A question and the way to its answer."""

    family: str
    question: str
    facts: tuple[str, ...]
    """The question's statements, one sentence each."""
    goal: str
    """What is asked for: "how many apples Mia has now"."""
    conclusion: str
    """The clause that answers: "Mia has 29 apples now"."""
    steps: tuple[Step, ...]

    @property
    def answer(self) -> int:
        return self.steps[-1].result

    @property
    def largest(self) -> int:
        """The largest number that the solution touches."""
        return max(max(step.a, step.b, step.result) for step in self.steps)


@dataclass(frozen=True)
class Numbers:
    """The sizes that operands are drawn from; bounds are inclusive."""

    few: tuple[int, int] = (2, 9)
    """Multipliers, divisors, numbers of containers."""
    some: tuple[int, int] = (2, 20)
    """Everything else."""
    largest: tuple[int, int] = (0, 120)
    """Where the largest number of a solution must lie."""


SMALL = Numbers()
"""What pretraining, `train`, `dev` and `test` use."""
BIG = Numbers(few=(2, 5), some=(21, 30))
"""What `harder` calls bigger numbers: all but the multipliers are above those that `SMALL` draws."""


class Impossible(Exception):
    """This draw of random numbers makes no sensible story; draw again."""


@dataclass
class Story:
    """A problem being written."""

    rng: random.Random
    numbers: Numbers
    facts: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def few(self) -> int:
        return self.rng.randint(*self.numbers.few)

    def some(self) -> int:
        return self.rng.randint(*self.numbers.some)

    def tell(self, sentence: str) -> None:
        """Add a statement to the question."""
        self.facts.append(sentence[0].upper() + sentence[1:] + ".")

    def work(self, a: int, op: str, b: int, purpose: str, reason: str, states: str) -> int:
        """Add a step, `{r}` in `states` standing for its result; return the result."""
        result = OPERATIONS[op](a, b)
        if result < 1 or (op == "/" and a % b):
            raise Impossible
        self.steps.append(Step(a, op, b, result, purpose, reason, states.format(r=result)))
        return result

    def ask(self, family: str, query: str, goal: str, conclusion: str) -> Problem:
        """Close the story with its question; `{r}` in `conclusion` stands for the answer."""
        return Problem(
            family=family,
            question=" ".join([*self.facts, query]),
            facts=tuple(self.facts),
            goal=goal,
            conclusion=conclusion.format(r=self.steps[-1].result),
            steps=tuple(self.steps),
        )


Family = Callable[[Story, int], Problem]
MOST_DRAWS = 100_000
Plan = list[tuple[str, int, float]]
"""What to draw: (family, number of steps, weight)."""


def draw_one(rng: random.Random, plan: Plan, numbers: Numbers, families: dict[str, Family]) -> Problem:
    """One random problem of the plan, its numbers within bounds."""
    for _ in range(MOST_DRAWS):
        name, n_steps, _ = rng.choices(plan, weights=[weight for *_, weight in plan])[0]
        try:
            problem = families[name](Story(rng, numbers), n_steps)
        except Impossible:
            continue
        if len(problem.steps) == n_steps and numbers.largest[0] <= problem.largest <= numbers.largest[1]:
            return problem
    raise ValueError(f"no problem of {plan} has its largest number within {numbers.largest}: {MOST_DRAWS} draws")


def draw(seed: str, plan: Plan, numbers: Numbers, families: dict[str, Family], taken: set[str]) -> Iterator[Problem]:
    """Endless distinct problems; questions in `taken` are avoided, and each new one is added to it."""
    rng = random.Random(seed)
    while True:
        problem = draw_one(rng, plan, numbers, families)
        if problem.question not in taken:
            taken.add(problem.question)
            yield problem


def record(problem: Problem, identifier: str, source: str) -> dict[str, str]:
    """The problem as a line of a problems file."""
    return {"id": identifier, "question": problem.question, "answer": str(problem.answer), "source": source}
