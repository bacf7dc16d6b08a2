"""Traces longer than one reply may be, and replies that reach the output limit."""

import asyncio
from collections.abc import Sequence

import pytest

from drp.chat.wire import Message, Reply
from drp.errors import RecordError
from drp.records import Decomposition, Usage
from drp.teachers.checks import check_edits, check_numbers, check_steps
from drp.teachers.llm.division import bound_tokens
from tests.teachers.competent import CompetentClient, count_tokens
from tests.teachers.llm.cases import (
    FORMATS,
    decompose,
    fail,
    make_decomposition,
    make_teacher,
    make_trace,
    prune,
    write_thinking,
)

LIMIT = 4096


THINKING = write_thinking(30_000)


@pytest.mark.parametrize("form", FORMATS)
def test_a_trace_of_30k_tokens_fits_replies_of_4k(form: str) -> None:
    assert count_tokens(THINKING) >= 30_000
    trace, client = make_trace(thinking=THINKING), CompetentClient(limit=LIMIT)
    teacher = make_teacher(client, form, max_output_tokens=LIMIT)
    segmentation = decompose(teacher, trace)
    n_decompose = len(client.requests)
    assert segmentation.usage.calls == n_decompose > 1
    source = Decomposition(**dict(trace), steps=segmentation.steps, teacher="t", usage=Usage())
    revision = prune(teacher, source)
    assert revision.thinking.endswith("The answer is 26.")
    assert check_numbers(revision.thinking, THINKING) == []
    assert len({repr(request) for request in client.requests}) == len(client.requests)
    limits = {"text": (22, 30), "spans": (16, 26)}
    assert n_decompose <= limits[form][0]
    assert len(client.requests) - n_decompose <= limits[form][1]


def test_parts_know_what_came_before_and_the_last_one_gets_the_answer() -> None:
    trace, client = make_trace(thinking=write_thinking(3000)), CompetentClient(limit=1000)
    prune(make_teacher(client, "spans", max_output_tokens=1000), make_decomposition(trace))
    prompts = [request[0].content for request in client.requests]
    assert "(nothing: this is the beginning)" in prompts[0]
    assert all("write no answer section" in prompt for prompt in prompts[:-1])
    assert "the last part" in prompts[-1]
    assert "[…]" in prompts[-1]


@pytest.mark.parametrize("form", FORMATS)
def test_a_cut_reply_divides_the_task_and_is_never_repeated(form: str) -> None:
    trace = make_trace(thinking=write_thinking(600))
    client = CompetentClient([("Step 1: cut of", "length"), ("1-3 | Add", "length")])
    segmentation = decompose(make_teacher(client, form), trace)
    assert segmentation.usage.calls == len(client.requests) > 3
    assert len({repr(request) for request in client.requests}) == len(client.requests)
    source = make_decomposition(trace)
    client = CompetentClient([("1 KEEP\n2 KE", "length"), None, ("3 KEEP", "length")])
    revision = prune(make_teacher(client, form), source)
    assert revision.usage.calls == len(client.requests) > 3
    assert len({repr(request) for request in client.requests}) == len(client.requests)


@pytest.mark.parametrize("form", FORMATS)
def test_replies_that_are_always_cut_end_as_a_failure(form: str) -> None:
    trace = make_trace(thinking=write_thinking(1000))
    client = CompetentClient([("Step 1", "length")] * 10_000)
    error = fail(make_teacher(client, form).decompose(trace))
    assert "reached the teacher's output limit, and smaller parts would not help" in str(error)
    assert error.raw == "Step 1"
    assert len({repr(request) for request in client.requests}) == len(client.requests) < 25
    client.requests.clear()
    assert "smaller parts would not help" in str(fail(make_teacher(client, form).prune(make_decomposition(trace))))
    assert len({repr(request) for request in client.requests}) == len(client.requests) < 12
    assert "smaller parts" in str(fail(make_teacher(client, form).decompose(make_trace(thinking="Four."))))


def test_a_limit_smaller_than_planned_is_met_by_dividing() -> None:
    """The provider's real limit may be lower than the configured one."""
    trace = make_trace(thinking=write_thinking(3000))
    for form in FORMATS:
        client = CompetentClient(limit=300)
        teacher = make_teacher(client, form, max_output_tokens=2000)
        assert check_steps(trace.thinking, decompose(teacher, trace).steps) == []
        source = make_decomposition(trace)
        assert check_edits(source.steps, prune(teacher, source).edits) == []


def test_when_one_part_fails_the_replies_of_the_others_are_still_received() -> None:
    class Slow(CompetentClient):
        received = 0

        async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:
            first = not self.requests
            reply = await super().complete(messages)
            if first:
                raise RecordError("the provider is down", attempts=6)
            await asyncio.sleep(0.01)
            self.received += 1
            return reply

    client = Slow()
    teacher = make_teacher(client, "text", max_output_tokens=500)
    assert "the provider is down" in str(fail(teacher.decompose(make_trace(thinking=write_thinking(2000)))))
    assert client.received == len(client.requests) - 1 > 3


def test_a_trace_without_spaces_or_stops_is_still_cut() -> None:
    thinking = "∑7" * 4000
    client = CompetentClient(limit=LIMIT)
    assert bound_tokens(thinking) > LIMIT
    steps = decompose(
        make_teacher(client, "text", "default", max_output_tokens=LIMIT), make_trace(thinking=thinking)
    ).steps
    assert len(steps) == len(client.requests) > 1
