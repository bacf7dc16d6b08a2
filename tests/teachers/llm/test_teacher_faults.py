"""Each known mistake of a teacher: sent back with what was wrong, then put right or failed with a reason."""

import re
from collections.abc import Callable

import pytest

from tests.teachers.competent import CompetentClient, Turn
from tests.teachers.llm.cases import FORMATS, decompose, fail, make_decomposition, make_teacher, make_trace, prune


def replace(old: str, new: str) -> Callable[[str], str]:
    """A mistake that is certain to be made."""

    def change(reply: str) -> str:
        assert old in reply
        return reply.replace(old, new)

    return change


def without_line(start: str) -> Callable[[str], str]:
    def change(reply: str) -> str:
        lines = reply.splitlines()
        kept = [line for line in lines if not line.startswith(start)]
        assert len(kept) == len(lines) - 1
        return "\n".join(kept)

    return change


DECOMPOSE_FAULTS: list[tuple[str, Turn, str]] = [
    ("text", replace("bake 5", "baked 5"), "is not a copy of the reasoning"),
    (
        "text",
        replace("So 40 - 14 = 26", "So 40 - 14 = 25"),
        "it has '5 slices are left.' where the reasoning has '6 slices",
    ),
    ("text", lambda reply: "\n".join(reply.splitlines()[:4] + reply.splitlines()[6:]), "of the reasoning is missing"),
    ("text", lambda reply: "\n".join([*reply.splitlines()[2:4], *reply.splitlines()[:2]]), "is missing"),
    ("text", lambda reply: "\n".join(reply.splitlines()[:-2]), "the end of the reasoning is missing"),
    ("text", lambda reply: reply.replace("Skill:", "-"), "no steps of the form|has no line 'Skill"),
    ("text", ("I'm sorry, but I can't help with that.", "stop"), "no steps of the form"),
    ("text", ('{"steps": [{"te', "stop"), "no steps of the form"),
    ("text", ("", "stop"), "no steps of the form"),
    ("spans", without_line("2 |"), "no step has clause"),
    ("spans", lambda reply: "\n".join(reply.splitlines()[::-1]), "repeats or goes back"),
    ("spans", lambda reply: reply + "\n99 | Addition", "no step has|does not exist"),
    ("spans", ("I'm sorry, but I can't help with that.", "stop"), "no line of the form"),
    ("spans", ('[{"start": 1, ', "stop"), "no line of the form"),
    ("spans", ("", "stop"), "no line of the form"),
]


@pytest.mark.parametrize(("form", "fault", "problem"), DECOMPOSE_FAULTS)
def test_a_bad_decomposition_goes_back_with_what_was_wrong(form: str, fault: Turn, problem: str) -> None:
    client, expected = CompetentClient([fault]), make_decomposition(make_trace(), form).steps
    segmentation = decompose(make_teacher(client, form), make_trace())
    assert segmentation.steps == expected
    assert segmentation.usage.calls == 2
    assert segmentation.usage.cost_usd == 0.5
    first, second = client.requests
    assert second[0] == first[0]
    assert [message.role for message in second] == ["user", "assistant", "user"]
    assert re.search(problem, second[2].content)


@pytest.mark.parametrize(("form", "fault", "problem"), DECOMPOSE_FAULTS)
def test_a_decomposition_that_stays_bad_is_a_failure_with_its_reply(form: str, fault: Turn, problem: str) -> None:
    client = CompetentClient([fault] * 9)
    error = fail(make_teacher(client, form).decompose(make_trace()))
    assert re.search(problem, str(error))
    assert error.attempts == len(client.requests) == 3
    assert error.raw is not None
    assert client.requests[2][1].content == client.requests[2][3].content == (error.raw.strip() or "(empty reply)")
    assert len({repr(request) for request in client.requests}) == 3


PRUNE_FAULTS: list[tuple[str, Turn, str]] = [
    ("text", replace("5 * 8 = 40", "5 * 8 = 41"), r"neither the problem nor the original .*41"),
    ("text", replace("\nUNCHANGED", "\nThere are 14 left."), "no longer states the final answer 26"),
    ("text", without_line("=== PRUNED THINKING"), "the line '=== PRUNED THINKING ==='"),
    ("text", without_line("=== PRUNED ANSWER"), "'=== PRUNED ANSWER ==='"),
    ("text", without_line("Step 1:"), "steps that have no action: 1"),
    ("text", lambda reply: "Step 1: KEEP\n" + reply, "steps that have more than one action: 1"),
    ("text", replace("=== PRUNED THINKING ===\n", "=== PRUNED THINKING ===\n" + 40 * "So 26. "), "is not shorter"),
    (
        "text",
        lambda reply: re.sub(r"(THINKING ===\n).*", r"\1They ate 14.", reply),
        "no longer reaches the final answer 26",
    ),
    ("text", replace("=== PRUNED THINKING ===\n", "=== PRUNED THINKING ===\nStep 1: KEEP\n"), "belongs to the list"),
    ("text", replace("=== PRUNED THINKING ===\n", "=== PRUNED THINKING ===\n</think>"), "holds the tag </think>"),
    ("text", ("As an AI model I must decline.", "stop"), "the line '=== PRUNED THINKING ==='"),
    ("text", ("", "stop"), "the line '=== PRUNED THINKING ==='"),
    ("spans", replace("5 * 8 = 40", "5 * 8 = 41"), r"neither the problem nor the original .*41"),
    ("spans", replace("ANSWER UNCHANGED", "ANSWER: It is 14."), "no longer states the final answer 26"),
    ("spans", without_line("ANSWER"), "the last line is missing"),
    ("spans", without_line("1 "), "steps that have no action: 1"),
    (
        "spans",
        lambda reply: re.sub(r"(?m)^(\d+) .*", r"\1 KEEP", reply.replace("-", "\n", 1)),
        "is not shorter|no action",
    ),
    ("spans", lambda reply: re.sub(r"(?m)^(\d+)(-\d+)? .*", r"\1\2 DELETE", reply), "nothing is left of the reasoning"),
    ("spans", ("As an AI model I must decline.", "stop"), "no line gives a step one of the four actions"),
    ("spans", ('{"edits": [{"acti', "stop"), "no line gives a step one of the four actions"),
]


@pytest.mark.parametrize(("form", "fault", "problem"), PRUNE_FAULTS)
def test_a_bad_revision_goes_back_with_what_was_wrong(form: str, fault: Turn, problem: str) -> None:
    source, client = make_decomposition(make_trace()), CompetentClient([fault])
    revision = prune(make_teacher(client, form), source)
    untroubled = prune(make_teacher(CompetentClient(), form), source)
    assert (revision.edits, revision.thinking) == (untroubled.edits, untroubled.thinking)
    assert revision.usage.calls == 2
    assert re.search(problem, client.requests[1][2].content)


@pytest.mark.parametrize(("form", "fault", "problem"), PRUNE_FAULTS)
def test_a_revision_that_stays_bad_is_a_failure_with_its_reply(form: str, fault: Turn, problem: str) -> None:
    client = CompetentClient([fault] * 9)
    error = fail(make_teacher(client, form, max_reasks=1).prune(make_decomposition(make_trace())))
    assert re.search(problem, str(error))
    assert error.attempts == len(client.requests) == 2
    assert error.raw is not None


def test_no_reask_is_made_where_none_is_allowed() -> None:
    client = CompetentClient([("nonsense", "stop")])
    assert fail(make_teacher(client, "text", max_reasks=0).decompose(make_trace())).raw == "nonsense"
    assert len(client.requests) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_a_withheld_reply_fails_at_once(form: str) -> None:
    client = CompetentClient([("half a repl", "filtered")])
    error = fail(make_teacher(client, form).decompose(make_trace()))
    assert "filtered" in str(error)
    assert (error.attempts, error.raw, len(client.requests)) == (1, "half a repl", 1)
    client = CompetentClient([("", "filtered")])
    assert "filtered" in str(fail(make_teacher(client, form).prune(make_decomposition(make_trace()))))
