"""What the reply format `spans` saves against the paper's `text` on real traces: output tokens, dollars, checks passed.

    drp import real.jsonl --output real/traces.jsonl --answer reference
    pip install --target /tmp/o200k bpe-openai          # GPT-4o's tokenizer with its vocabulary, 40 MB
    PYTHONPATH=/tmp/o200k python scripts/bench/formats.py real/traces.jsonl

The same teacher (tests/teachers/competent.py, which goes by the prompts alone) answers both formats through the
project's own LLM teacher: real prompts, parts, readers and checks. Traces with a right answer are decomposed, then
pruned, as a run would do it. Prints a table and, as its last line, one JSON object; exit status 0 where the goal holds.
"""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from drp.chat.prices import find_price
from drp.chat.wire import Message, Reply
from drp.config.sections import GradingSettings, TeacherSettings
from drp.errors import RecordError
from drp.grading import Grader
from drp.records import Decomposition, Failure, Trace, Usage
from drp.runs.jsonl import read_records
from drp.teachers.llm.teacher import LLMTeacher
from tests.teachers import competent

CLAIM = (
    "on real traces `spans` decomposes with at most a fifth of the output tokens of `text`, and the whole teacher bill "
    "at GPT-4o's prices falls by at least 40%, with no more replies failing a check"
)
GOAL = {"decompose_output": 0.2, "bill": 0.6}
FORMATS = ("spans", "text")
FREE = Usage(cost_usd=0.0)
Count = Callable[[str], int]


@dataclass
class Outcome:
    """One format's sums. became: passed, nothing to prune, or the reason of a failure."""

    decompose: Usage = FREE
    prune: Usage = FREE
    became: Counter[str] = field(default_factory=Counter)

    @property
    def n_failed(self) -> int:
        return self.became.total() - self.became["passed"] - self.became["nothing to prune"]

    @property
    def usd(self) -> float:
        return (self.decompose + self.prune).cost_usd or 0.0


class Client:
    """The competent teacher as a ChatClient that costs what GPT-4o does."""

    def __init__(self, settings: TeacherSettings, count: Count) -> None:
        self.model, self.used = settings.model or "", FREE
        self._limit, self._price, self._count = settings.max_output_tokens, find_price(settings), count

    async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:  # noqa: ARG002
        assert self._price
        text = competent.answer([(message.role, message.content) for message in messages])
        read, wrote = sum(self._count(message.content) for message in messages), self._count(text)
        usage = Usage(calls=1, input_tokens=read, output_tokens=wrote, cost_usd=self._price(read, wrote))
        self.used += usage
        return Reply(text, "stop" if wrote <= self._limit else "length", usage)

    def take_used(self) -> Usage:
        """What was used since the last time, failed replies included."""
        used, self.used = self.used, FREE
        return used

    async def close(self) -> None:
        """Nothing is held."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "traces", type=Path, nargs="+", help="traces.jsonl, as `drp import` or `drp generate` writes it"
    )
    parser.add_argument("--tokenizer", help="a model's folder to count tokens with; default: GPT-4o's o200k")
    parser.add_argument("--method", choices=["skill", "default"], default="skill")
    args = parser.parse_args()
    traces = [trace for path in args.traces for trace in read_traces(path)]
    if not traces:
        parser.error("no trace with a right answer to work on")
    count = load_counter(args.tokenizer)
    with Grader(GradingSettings()) as grader:
        outcomes = {name: asyncio.run(work(traces, name, args.method, count, grader)) for name in FORMATS}
    return report(outcomes, len(traces))


def read_traces(path: Path) -> Iterable[Trace]:
    for record in read_records(path, Trace):
        if isinstance(record, Failure):
            raise SystemExit(f"{record.message}; bring traces into their form with `drp import`")
        if record.correct and record.thinking.strip():
            yield record


def load_counter(folder: str | None) -> Count:
    """Tokens of a text: of a model's own tokenizer, else of GPT-4o's, whose vocabulary `bpe_openai` brings along and
    tiktoken fetches from the net."""
    if folder:
        from drp.student.response import count_tokens, load_tokenizer

        tokenizer = load_tokenizer(folder)
        return lambda text: count_tokens(tokenizer, text)
    try:
        import bpe_openai as tokens
    except ImportError:
        import tiktoken as tokens
    encoding = tokens.get_encoding("o200k_base")
    return lambda text: len(encoding.encode(text, disallowed_special=()))


async def work(traces: Sequence[Trace], name: str, method: str, count: Count, grader: Grader) -> Outcome:
    settings = TeacherSettings(provider="openai", model="gpt-4o", format=name)
    client, outcome = Client(settings, count), Outcome()
    teacher = LLMTeacher(client, settings, method, same_answer=grader.same_answer, count=count)
    for trace in traces:
        outcome.became[await teach(teacher, client, trace, outcome)] += 1
    return outcome


async def teach(teacher: LLMTeacher, client: Client, trace: Trace, outcome: Outcome) -> str:
    """Decompose and prune one trace; what became of it."""
    try:
        steps = (await teacher.decompose(trace)).steps
    except RecordError as error:
        return error.reason or "error"
    finally:
        outcome.decompose += client.take_used()
    try:
        await teacher.prune(Decomposition(**dict(trace), steps=steps, teacher="", usage=FREE))
    except RecordError as error:
        kept = error.raw is not None and not re.search("DELETE|REWRITE|MERGE|COMPRESS", error.raw)
        return "nothing to prune" if kept else error.reason or "error"
    finally:
        outcome.prune += client.take_used()
    return "passed"


def report(outcomes: dict[str, Outcome], n_traces: int) -> int:
    columns = ["calls", "decompose in", "out", "prune in", "out", "dollars", "failed"]
    print(f"{n_traces} traces\n{'format':8}" + "".join(f"{column:>14}" for column in columns))
    for name, outcome in outcomes.items():
        first, second = outcome.decompose, outcome.prune
        tokens = [first.input_tokens, first.output_tokens, second.input_tokens, second.output_tokens]
        cells = [first.calls + second.calls, *tokens, f"{outcome.usd:.4f}", outcome.n_failed]
        print(f"{name:8}" + "".join(f"{cell:>14}" for cell in cells) + f"   {dict(outcome.became)}")
    ours, peer = (outcomes[name] for name in FORMATS)
    pairs = {
        "decompose_output": (ours.decompose.output_tokens, peer.decompose.output_tokens),
        "bill": (round(ours.usd, 4), round(peer.usd, 4)),
    }
    ratio = {key: round(a / b, 3) for key, (a, b) in pairs.items()}
    holds = all(ratio[key] <= GOAL[key] for key in GOAL) and ours.n_failed <= peer.n_failed
    result = {
        "claim": CLAIM,
        "ours": {key: a for key, (a, _) in pairs.items()} | {"failed": ours.n_failed},
        "peer": {key: b for key, (_, b) in pairs.items()} | {"failed": peer.n_failed},
        "ratio": ratio,
        "goal": GOAL,
        "holds": holds,
    }
    print(json.dumps(result))
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
