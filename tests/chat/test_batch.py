"""Requests in batches: put into files, matched with their replies, and paid for once."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from drp.chat.batch.journal import Journal
from drp.chat.limits import CostCapReached
from drp.chat.store import hash_request
from drp.chat.wire import Message, Reply
from drp.config.sections import BatchSettings, TeacherSettings
from drp.errors import RecordError, UserError
from tests.chat.batches import ANSWERS, QUESTIONS, ask_in_batches, read_journal, texts
from tests.chat.conftest import PRICES, ask, echo, open_teacher
from tests.loopback import BatchPlan, LoopbackServer


def test_every_request_gets_its_own_reply_from_one_batch_at_half_the_price(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(n_polls=2, shuffled=True)]) as server:
        outcomes = ask_in_batches(server, path, QUESTIONS)
    assert texts(outcomes) == ANSWERS
    assert server.batches.sizes == [len(QUESTIONS)]
    usage = outcomes[0].usage  # type: ignore[union-attr]
    usual_usd = (usage.input_tokens * PRICES.input + usage.output_tokens * PRICES.output) / 1e6
    assert usage.cost_usd == pytest.approx(usual_usd / 2)
    [batch] = read_journal(path)
    assert (batch.status, batch.n_completed, batch.is_settled) == ("completed", len(QUESTIONS), True)
    assert not list(path.with_name("batches").iterdir()), "uploaded and downloaded files are deleted"


def test_the_same_question_asked_by_many_is_sent_once(path: Path) -> None:
    with LoopbackServer(echo) as server:
        assert len(set(texts(ask_in_batches(server, path, ["same"] * 9)))) == 1
    assert sum(server.batches.sent.values()) == 1


@pytest.mark.parametrize(("batch", "sizes"), [({"max_requests": 8}, [8, 8, 8, 6]), ({"max_bytes": 2500}, [10, 10, 10])])
def test_files_hold_no_more_than_either_limit_allows(path: Path, batch: dict[str, int], sizes: list[int]) -> None:
    with LoopbackServer(echo) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS, batch=batch)) == ANSWERS
        uploads = [server.batches.files[batch["input_file_id"]].content for batch in server.batches.by_id.values()]
    assert server.batches.sizes == sizes
    assert all(len(content) <= batch.get("max_bytes", 1e9) for content in uploads)
    assert set(server.batches.sent.values()) == {1}


def test_a_request_larger_than_a_file_fails_alone(path: Path) -> None:
    with LoopbackServer(echo) as server:
        big, small = ask_in_batches(server, path, ["x" * 5000, "small"], batch={"max_bytes": 4000})
    assert isinstance(big, RecordError)
    assert "teacher.batch.max_bytes" in str(big)
    assert texts([small]) == ["you said small"]


def test_direct_and_batched_requests_have_the_same_replies_and_bodies(path: Path) -> None:
    with LoopbackServer(echo) as server:
        batched = ask_in_batches(server, path, QUESTIONS[:3])
        assert ask(lambda: open_teacher(server, path), QUESTIONS[:3]) == batched
        assert not server.requests, "a reply from a batch was paid for again"
        direct = ask(lambda: open_teacher(server, path), ["other"])
        assert ask_in_batches(server, path, ["other"]) == direct
        [row, *_] = server.batches.files["file-0"].rows()
        shown = {**row["body"], "messages": []}
        assert shown == {**server.requests[0].body, "messages": []}
        assert row["url"] == server.requests[0].path
    assert sum(server.batches.sent.values()) == 3


@pytest.mark.parametrize(("cap_usd", "n_least"), [(0.021, 8), (0.1, 55)])
def test_what_might_pass_the_cost_cap_is_not_sent(path: Path, cap_usd: float, n_least: int) -> None:
    questions = [f"question {i:04}" for i in range(100)]
    limits = {"max_cost_usd": cap_usd, "max_output_tokens": 400}
    with LoopbackServer(lambda messages: "word" * 300) as server:
        outcomes = ask_in_batches(server, path, questions, **limits)
        spent = server.n_completed * (3 * PRICES.input + 300 * PRICES.output) / 2e6
        assert spent <= cap_usd
        assert server.n_completed >= n_least
        assert sum(isinstance(outcome, Reply) for outcome in outcomes) == server.n_completed
        assert any(isinstance(outcome, CostCapReached) for outcome in outcomes)
        texts(ask_in_batches(server, path, questions))
    assert set(server.batches.sent.values()) == {1}, "a request that the cap allowed was sent again"


def test_a_bad_line_in_the_journal_is_named(path: Path) -> None:
    with LoopbackServer(echo) as server:
        ask_in_batches(server, path, ["a"])
        journal = path.with_name("batches.jsonl")
        journal.write_text('{"id": 3}\n' + journal.read_text())
        with pytest.raises(UserError, match=r"batches\.jsonl:1: field `id`.*; put back the line"):
            ask_in_batches(server, path, ["b"])


@pytest.mark.parametrize("n_lost", [1, 40])
def test_an_incomplete_last_line_of_the_journal_is_cut_off(path: Path, n_lost: int) -> None:
    with LoopbackServer(echo) as server:
        ask_in_batches(server, path, ["a"])
    journal = path.with_name("batches.jsonl")
    journal.write_bytes(journal.read_bytes()[:-n_lost])
    [batch] = Journal(journal).open.values()
    assert (batch.status, batch.is_settled) == ("completed", False)
    assert len(batch.keys) == 1


def test_a_run_that_ends_early_reports_its_open_batches(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def interrupt(open_it: Callable[[], object]) -> None:
        client = open_it()
        waiting = asyncio.create_task(client.complete([Message("user", "a")]))  # type: ignore[attr-defined]
        while not server.batches.by_id:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await client.close()  # type: ignore[attr-defined]

    with LoopbackServer(echo, plans=[BatchPlan(n_polls=10**6)]) as server:
        batch = BatchSettings(quiet_s=0.05, poll_s=0.02)
        asyncio.run(interrupt(lambda: open_teacher(server, path, mode="batch", batch=batch)))
        said = capsys.readouterr().err
        assert "1 batch continues at the provider, with 1 requests" in said
        assert "drp batches CONFIG --cancel" in said
        [batch] = read_journal(path)
        settings = TeacherSettings(provider="openai", model="teacher-1", temperature=0.0, max_output_tokens=4096)
        assert batch.keys == [hash_request(settings, server.openai_url, [Message("user", "a")])]
        assert json.loads(path.with_name("batches.jsonl").read_text().splitlines()[0])["keys"] == batch.keys
