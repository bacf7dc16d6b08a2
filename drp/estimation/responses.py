"""How many responses a run will have and how long they are: from what is there, else as configured and assumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drp.artifacts import digest, scan
from drp.problems import load_problems
from drp.records import Problem, Trace
from drp.settings import SourceSettings
from drp.teachers.replies.division import foresee_tokens

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


def count_lines(path: Path) -> int:
    return digest(path)[2] if path.exists() else 0


def mean_tokens(*paths: Path) -> int | None:
    """Mean `n_tokens` of all records that have it."""
    lengths = [item["n_tokens"] for path in paths for item in scan(path) if item.get("n_tokens")]
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
