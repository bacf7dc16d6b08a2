"""Both teacher stages over one set of traces and one loopback server, and what every artifact has to satisfy.

The checks here know nothing of `drp.teachers`: they read the artifacts as anyone would.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drp.chat.limits import RetryPolicy
from drp.chat.store import hash_request
from drp.chat.wire import Message
from drp.config.sections import Config
from drp.errors import DrpError
from drp.runs.manifest import Counts, Manifest, load_manifest
from drp.stages import decompose, prune
from tests.conftest import REPOSITORY, read_lines, trace
from tests.loopback import LoopbackServer, Request

STUDENT = REPOSITORY / "data" / "tiny" / "model"
VERBS = {"decompose": decompose, "prune": prune}
ARTIFACTS = {"decompose": "steps.jsonl", "prune": "pruned.jsonl"}
Record = dict[str, Any]


@dataclass(frozen=True)
class QuickRetries(RetryPolicy):
    """In place of the stages' own: hundredths of a second between attempts."""

    first_s: float = 0.01
    longest_s: float = 0.05
    jitter_s: float = 0.01


def make_trace(number: int) -> Record:
    """A trace with something to keep, delete, rewrite and merge; no two have the same numbers."""
    draw = random.Random(number)
    a, b = draw.randrange(11, 60) * 3 + 1, number + 200
    thinking = (
        f"Okay, so I need to find how many apples Ann has. She has {a} bags. Each bag has {b} apples.\n\n"
        f"First, I need to find the apples in all the bags. That is {a} x {b} = {a * b} apples.\n\n"
        f"Hmm, let me think about whether that is right. Wait, let me double-check: {a} x {b} = {a * b}. Yes.\n\n"
        f"So Ann has {a * b} apples."
    )
    summary = f"Ann has {a} bags of {b} apples, {a} x {b} = {a * b}. So the answer is \\boxed{{{a * b}}}."
    return trace(
        id=f"p-{number:03}#0",
        problem_id=f"p-{number:03}",
        question=f"Ann has {a} bags of {b} apples. How many apples?",
        answer=str(a * b),
        thinking=thinking,
        summary=summary,
        response=f"{thinking}\n</think>\n\n{summary}",
        predicted=str(a * b),
    )


def make_config(folder: Path, server: LoopbackServer, provider: str, form: str, **teacher: Any) -> Config:
    """A run directory of its own; any number of failures is allowed."""
    url = server.openai_url if provider == "openai" else server.gemini_url
    fields = {"provider": provider, "model": "m", "base_url": url, "format": form, "timeout_s": 20, "concurrency": 16}
    prices = {"input": 2.5, "output": 10}
    return Config.model_validate(
        {
            "run_dir": str(folder),
            "max_failures": 10**6,
            "student": {"model": str(STUDENT)},
            "teacher": {**fields, "prices": prices, **teacher},
        }
    )


def write_traces(folder: Path, n: int, write: Callable[[int], Record] = make_trace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "traces.jsonl").write_text("".join(json.dumps(write(number)) + "\n" for number in range(n)))


def run_both(config: Config) -> dict[str, Counts]:
    return {verb: stage.run(config) for verb, stage in VERBS.items()}


def work(verb: str, path: Path) -> None:
    """One stage in a process of its own, with the tests' short waits between attempts."""
    import drp.chat.factory

    drp.chat.factory.RetryPolicy = QuickRetries  # type: ignore[misc]
    config = Config.model_validate_json(path.read_text())
    try:
        VERBS[verb].run(config)
    except DrpError as error:
        raise SystemExit(error.exit_status) from None


def read_artifact(folder: Path, verb: str) -> dict[str, Record]:
    """Records by id."""
    records = read_lines(folder / ARTIFACTS[verb])
    by_id = {record["id"]: record for record in records}
    assert len(by_id) == len(records), "duplicate id"
    return by_id


def read_failures(folder: Path, verb: str) -> dict[str, Record]:
    failures = read_lines(folder / ARTIFACTS[verb].replace(".jsonl", ".failed.jsonl"))
    assert all(failure["message"] and failure["reason"] for failure in failures), failures
    return {failure["id"]: failure for failure in failures}


def read_store(folder: Path) -> list[Record]:
    """Whole lines alone, as they are after a kill."""
    return [json.loads(line) for line in (folder / "replies.jsonl").read_bytes().split(b"\n")[:-1]]


def read_manifest(folder: Path, verb: str) -> Manifest:
    manifest = load_manifest(folder / ARTIFACTS[verb])
    assert manifest
    return manifest


def check_run(folder: Path, n_traces: int) -> None:
    """Every record of both stages is written, filtered or failed with its reason, and what is written is right."""
    inputs = {record["id"] for record in read_lines(folder / "traces.jsonl")}
    assert len(inputs) == n_traces
    for verb in VERBS:
        written, failed = read_artifact(folder, verb), read_failures(folder, verb)
        counts = read_manifest(folder, verb).counts
        assert counts.read == len(inputs) == counts.written + sum(counts.filtered.values()) + counts.failed
        assert (counts.written, counts.failed) == (len(written), len(failed))
        assert written.keys() | failed.keys() <= inputs
        assert not written.keys() & failed.keys()
        for record in written.values():
            check_record(record)
        inputs = set(written)


def check_record(record: Record) -> None:
    position = 0
    for step in record["steps"]:
        assert (step["start"], step["text"]) == (position, record["thinking"][position : step["end"]])
        assert step["text"].strip()
        assert step["skill"]
        position = step["end"]
    assert position == len(record["thinking"])
    if "edits" in record:
        check_pruning(record)


def check_pruning(record: Record) -> None:
    assert [source for edit in record["edits"] for source in edit["sources"]] == list(range(len(record["steps"])))
    original = f"{record['thinking']}\n{record['summary']}"
    pruned = f"{record['pruned_thinking']}\n{record['pruned_summary']}"
    numbers = set(re.findall(r"\d+", f"{original} {record['question']}"))
    texts = [edit["text"] for edit in record["edits"] if edit["action"] in ("rewrite", "merge")]
    assert set(re.findall(r"\d+", " ".join([pruned, *texts]))) <= numbers
    assert re.findall(r"\d+", record["pruned_summary"])[-1] == record["predicted"]
    assert record["predicted"] in record["pruned_thinking"]
    assert len(pruned) < len(original)
    assert record["pruned_response"] == f"{record['pruned_thinking']}\n</think>\n\n{record['pruned_summary']}"


def find_paid_twice(server: LoopbackServer) -> dict[str, int]:
    """Requests whose whole reply went out more than once; a reply with nothing in it is no reply."""
    bodies = Counter(json.dumps([r.path, r.body]) for r in server.requests if r.completed and not is_empty(r))
    return {body: n for body, n in bodies.items() if n > 1}


def is_empty(request: Request) -> bool:
    return request.fault is not None and request.fault.kind == "empty"


def hash_of(request: Request, config: Config) -> str:
    """The id that a request's reply has in the store."""
    messages = [Message(role, text) for role, text in request.question.messages]  # type: ignore[arg-type]
    return hash_request(config.teacher, str(config.teacher.base_url), messages)
