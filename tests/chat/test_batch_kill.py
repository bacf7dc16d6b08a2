"""kill -9 at each step of a batch: the rerun, here or on another machine, sends no request twice."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from drp.chat.limits import RetryPolicy
from drp.chat.wire import Reply
from tests.chat.batches import ask_in_batches, read_journal
from tests.chat.conftest import QUICK, echo, read_store
from tests.loopback import BatchPlan, Fault, LoopbackServer, faults

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = [f"question {i:02}" for i in range(20)]
HALF = {"max_requests": 10}
PROGRAM = """
import sys
from pathlib import Path
from tests.chat import test_batch_kill
test_batch_kill.work(int(sys.argv[1]), Path(sys.argv[2]))
"""


def work(port: int, path: Path) -> None:
    server = LoopbackServer(port=port)  # never started here: only its address is used
    ask_in_batches(server, path, QUESTIONS, batch=HALF)


def kill_while_it_hangs(server: LoopbackServer, path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(server.port), str(path)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not server.n_hanging and time.monotonic() < deadline:
        time.sleep(0.005)
    child.kill()
    child.wait()
    assert server.n_hanging == 1


def check_all_answered_once(server: LoopbackServer, path: Path, retry: RetryPolicy = QUICK) -> None:
    outcomes = ask_in_batches(server, path, QUESTIONS, batch=HALF, retry=retry)
    assert [outcome.text for outcome in outcomes if isinstance(outcome, Reply)] == [f"you said {q}" for q in QUESTIONS]
    assert set(server.batches.sent.values()) == {1}, "a request was created twice at the provider"
    assert server.n_completed == len(QUESTIONS)
    assert set(Counter(reply["id"] for reply in read_store(path)).values()) == {1}
    assert all(batch.is_settled for batch in read_journal(path))
    assert not list(path.with_name("batches").iterdir())


# The second file hangs; the first may be anywhere between upload and settled.
@pytest.mark.parametrize("step", ["upload", "create", "after_create", "poll", "download"])
def test_a_rerun_after_kill_9_continues_from_any_step(path: Path, step: str) -> None:
    plans = [BatchPlan(), BatchPlan(**{step: faults.HANG})]
    with LoopbackServer(echo, plans=plans) as server:
        kill_while_it_hangs(server, path)
        check_all_answered_once(server, path)


def test_a_copy_of_the_run_directory_continues_elsewhere(path: Path, tmp_path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(), BatchPlan(after_create=faults.HANG)]) as server:
        kill_while_it_hangs(server, path)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        for name in ("replies.jsonl", "batches.jsonl"):
            shutil.copy(path.with_name(name), elsewhere / name)
        check_all_answered_once(server, elsewhere / path.name)


def test_a_kill_while_replies_are_stored_costs_neither_those_nor_the_rest(path: Path) -> None:
    with LoopbackServer(echo) as server:
        ask_in_batches(server, path, QUESTIONS, batch=HALF)
        journal = path.with_name("batches.jsonl")
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join(line for line in lines if '"is_settled":true' not in line))
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
        check_all_answered_once(server, path)
    assert server.batches.sizes == [10, 10]


def test_a_batch_that_is_listed_late_is_found_after_a_kill(path: Path) -> None:
    """The batch is listed only after the rerun has begun to look for it."""
    with LoopbackServer(echo, plans=[BatchPlan(), BatchPlan(after_create=faults.HANG)]) as server:
        kill_while_it_hangs(server, path)
        server.batches.n_unlisted = 1
        check_all_answered_once(server, path, RetryPolicy(listing_s=4))


def test_a_rerun_with_other_questions_stores_the_replies_of_earlier_batches(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(), BatchPlan(poll=Fault("hang"))]) as server:
        kill_while_it_hangs(server, path)
        [other] = ask_in_batches(server, path, ["another"])
        assert isinstance(other, Reply)
        check = {reply["text"] for reply in read_store(path)}
    assert check == {f"you said {question}" for question in [*QUESTIONS, "another"]}
    assert set(server.batches.sent.values()) == {1}
