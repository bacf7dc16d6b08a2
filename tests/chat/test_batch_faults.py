"""Faults of batches, over a real connection: only missing replies are asked for again, and each is paid for once."""

import logging
import traceback
from pathlib import Path

import pytest

from drp.errors import RecordError, UserError
from tests.chat.batches import ANSWERS, QUESTIONS, ask_in_batches, read_journal, texts
from tests.chat.conftest import KEY, echo, read_store
from tests.loopback import BatchPlan, Fault, LoopbackServer, always, chance, faults
from tests.loopback.batches import OVER_LIMIT, Refusal


def test_of_an_expired_batch_only_what_is_missing_is_sent_again(path: Path) -> None:
    fate = [None if i % 3 else faults.EXPIRED for i in range(len(QUESTIONS))]
    with LoopbackServer(echo, faults=fate) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS)) == ANSWERS
    assert server.batches.sizes == [30, 10]
    assert [batch.status for batch in read_journal(path)] == ["expired", "completed"]
    assert server.n_completed == len(read_store(path)) == len(QUESTIONS)


@pytest.mark.parametrize("fault", [faults.RATE_LIMIT, faults.SERVER_ERROR, faults.UNAVAILABLE, faults.EMPTY])
def test_requests_with_a_transient_fault_go_into_the_next_file(path: Path, fault: Fault) -> None:
    with LoopbackServer(echo, faults=[fault, None, fault, None]) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS[:4])) == ANSWERS[:4]
    assert server.batches.sizes == [4, 2]


def test_a_permanent_fault_fails_its_record_after_the_allowed_attempts(path: Path) -> None:
    with LoopbackServer(echo, faults=always(faults.SERVER_ERROR)) as server:
        [error] = ask_in_batches(server, path, ["bad"], max_retries=2)
    assert isinstance(error, RecordError)
    assert (error.attempts, error.reason) == (3, "server error")
    assert server.batches.sizes == [1, 1, 1]


def test_a_request_that_cannot_succeed_fails_alone_and_is_not_sent_again(path: Path) -> None:
    with LoopbackServer(echo, faults=[faults.TOO_LONG]) as server:
        bad, good = ask_in_batches(server, path, ["long", "short"])
    assert isinstance(bad, RecordError)
    assert texts([good]) == ["you said short"]
    assert server.batches.sizes == [2]


def test_a_row_that_ends_the_run_does_not_lose_the_other_replies(path: Path) -> None:
    with LoopbackServer(echo, faults=[faults.UNKNOWN_MODEL]) as server:
        outcomes = ask_in_batches(server, path, QUESTIONS[:5])
    assert isinstance(outcomes[0], UserError)
    assert "teacher.model" in str(outcomes[0])
    assert texts(outcomes[1:]) == ANSWERS[1:5]


def test_rows_that_come_twice_and_in_both_files_count_once(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(doubled=True, shuffled=True)]) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS)) == ANSWERS
    assert len(read_store(path)) == len(QUESTIONS)
    assert server.batches.sizes == [len(QUESTIONS)]


@pytest.mark.parametrize("step", ["upload", "create", "poll", "download"])
@pytest.mark.parametrize("fault", [faults.SERVER_ERROR, faults.RATE_LIMIT.after(0.01), faults.RESET, faults.CUT])
def test_a_transient_fault_at_any_step_loses_nothing_and_pays_nothing_twice(
    path: Path, step: str, fault: Fault
) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(n_polls=1, **{step: fault})]) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS[:6])) == ANSWERS[:6]
    assert server.batches.sizes == [6]


def test_a_batch_that_was_created_with_an_error_is_found_and_not_created_twice(path: Path) -> None:
    others = [BatchPlan() for _ in range(4)]
    with LoopbackServer(echo, plans=[*others, BatchPlan(after_create=faults.SERVER_ERROR)]) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS[:25], batch={"max_requests": 5})) == ANSWERS[:25]
    assert server.batches.sizes == [5] * 5


def test_a_batch_completed_before_its_file_is_listed_is_waited_for(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(unfiled=True)]) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS[:6])) == ANSWERS[:6]
    assert server.batches.sizes == [6]


def test_a_file_with_fewer_rows_than_were_done_is_fetched_again_by_the_next_run(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(short=True)]) as server:
        first, *rest = ask_in_batches(server, path, QUESTIONS[:6])
        assert texts([first]) == ANSWERS[:1]
        assert all(isinstance(error, UserError) and "run this again" in str(error) for error in rest)
        assert texts(ask_in_batches(server, path, QUESTIONS[:6])) == ANSWERS[:6]
    assert server.batches.sizes == [6]
    assert len(read_store(path)) == 6


def test_too_many_enqueued_tokens_mean_smaller_files_later(path: Path) -> None:
    refused = [BatchPlan(refusal=OVER_LIMIT), BatchPlan(refusal=OVER_LIMIT)]
    with LoopbackServer(echo, plans=refused) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS[:8])) == ANSWERS[:8]
    assert [batch.n_requests for batch in read_journal(path)] == [8, 4, 2, 2, 2, 2]
    assert server.n_completed == 8


def test_a_limit_in_the_providers_message_is_kept_at_once(path: Path) -> None:
    # 16 requests of some 250 bytes are about 1,000 tokens.
    refused = Refusal("token_limit_exceeded", said="Limit: 100 enqueued tokens. Please try again")
    with LoopbackServer(echo, plans=[BatchPlan(refusal=refused)]) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS[:16])) == ANSWERS[:16]
    assert [batch.n_requests for batch in read_journal(path)][:2] == [16, 1]


def test_a_full_limit_makes_files_wait_for_the_open_batches(path: Path) -> None:
    plans = [BatchPlan(n_polls=4), BatchPlan(refusal=OVER_LIMIT)]
    with LoopbackServer(echo, plans=plans) as server:
        assert texts(ask_in_batches(server, path, QUESTIONS[:8], batch={"max_requests": 4})) == ANSWERS[:8]
    assert [batch.n_requests for batch in read_journal(path)] == [4, 4, 4]
    assert server.n_completed == 8


def test_a_limit_of_enqueued_tokens_that_stays_used_up_ends_the_run(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(refusal=OVER_LIMIT) for _ in range(9)]) as server:
        errors = ask_in_batches(server, path, QUESTIONS[:4], max_retries=2)
    assert all(isinstance(error, UserError) and "run this again later" in str(error) for error in errors)
    assert server.n_completed == 0


def test_a_line_that_the_provider_refuses_fails_alone(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(refusal=Refusal("invalid_request", line=2))]) as server:
        outcomes = ask_in_batches(server, path, QUESTIONS[:4])
    assert isinstance(outcomes[1], RecordError)
    assert texts([outcomes[0], *outcomes[2:]]) == [ANSWERS[0], *ANSWERS[2:4]]
    assert [batch.n_requests for batch in read_journal(path)] == [4, 3]


def test_a_refusal_that_applies_to_every_file_ends_the_run(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(refusal=Refusal("model_not_found"))]) as server:
        errors = ask_in_batches(server, path, QUESTIONS[:4])
    assert all(isinstance(error, UserError) and "model_not_found" in str(error) for error in errors)
    assert server.batches.sizes == [0], "refused once, and nothing was sent after it"


def test_a_server_without_a_batch_api_is_a_user_error(path: Path) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(upload=Fault("status", 404, "not_found"))]) as server:
        [error] = ask_in_batches(server, path, ["hello"])
    assert isinstance(error, UserError)
    assert "has no Batch API: set teacher.mode" in str(error)


def test_an_address_without_a_server_is_a_user_error(path: Path) -> None:
    server = LoopbackServer(port=9)  # never started
    [error] = ask_in_batches(server, path, ["hello"], max_retries=1)
    assert isinstance(error, UserError)
    assert "teacher.base_url" in str(error)


def test_a_storm_of_faults_leaves_every_request_answered_and_paid_for_once(path: Path) -> None:
    shares = {faults.EXPIRED: 0.15, faults.RATE_LIMIT: 0.15, faults.SERVER_ERROR: 0.1, faults.EMPTY: 0.1}
    plans = [BatchPlan(doubled=i % 2 == 0, shuffled=True, download=faults.CUT if i == 1 else None) for i in range(40)]
    with LoopbackServer(echo, faults=chance(shares, seed=3), plans=plans) as server:
        batch = {"max_requests": 7}
        assert texts(ask_in_batches(server, path, QUESTIONS, batch=batch, max_retries=20)) == ANSWERS
        n_sent = sum(server.batches.sent.values())
        assert texts(ask_in_batches(server, path, QUESTIONS)) == ANSWERS
    assert sum(server.batches.sent.values()) == n_sent, "the rerun asked for nothing"
    assert len(read_store(path)) == server.n_completed


@pytest.mark.parametrize("step", ["upload", "create", "poll", "download"])
@pytest.mark.parametrize("fault", [faults.UNAUTHORIZED, faults.FORBIDDEN], ids=lambda fault: fault.code)
def test_a_refused_key_ends_the_run_and_is_shown_nowhere(
    path: Path, step: str, fault: Fault, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with LoopbackServer(echo, plans=[BatchPlan(**{step: fault})]) as server:
        [error] = ask_in_batches(server, path, ["psst"])
    assert isinstance(error, UserError)
    assert "OPENAI_API_KEY" in str(error)
    assert f"Bearer {KEY}" in server.batches.keys_seen
    written = "".join(file.read_text() for file in path.parent.rglob("*") if file.is_file())
    printed = "".join(capsys.readouterr())
    for text in (str(error), repr(error), "".join(traceback.format_exception(error)), caplog.text, written, printed):
        assert KEY not in text
