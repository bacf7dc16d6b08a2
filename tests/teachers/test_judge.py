"""What counts as a verdict: strict in what it says, tolerant of how it is dressed."""

import time

import pytest

from drp.records import Step
from drp.teachers.judge import find_winner, read_reply, show_steps
from drp.teachers.llm.reply import BadReply

READABLE = [
    ("REASON: whole thoughts.\nVERDICT: A", ("first", "whole thoughts.")),
    ("**Reason:** whole thoughts.\n\n**Verdict:** **B**\n", ("second", "whole thoughts.")),
    ("```\nreason: none\nverdict: same\n```", ("same", "none")),
    ("## Final verdict: `Version B`", ("second", None)),
    ("> _VERDICT_ = tie.", ("same", None)),
    ("Verdict: A\nIn short, A is better.\nFinal Verdict: a", ("first", None)),
    ("A", ("first", None)),
    (" 'Same'.\n", ("same", None)),
    ("**B**", ("second", None)),
    ("<think>\nVerdict: B? No.\nVERDICT: B\n</think>\nVERDICT: A", ("first", None)),
    ("REASON: " + "x" * 900 + "\nVERDICT: A", ("first", "x" * 500)),
]


@pytest.mark.parametrize(("reply", "expected"), READABLE)
def test_a_verdict_is_read_however_it_is_dressed(reply: str, expected: tuple[str, str | None]) -> None:
    assert read_reply(reply) == expected


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "VERDICT:",
        "VERDICT: not A",
        "VERDICT: A or B",
        "VERDICT: A, B or SAME",
        "VERDICT: C",
        "The verdict is hard to give.",
        "A is better than B.",
        "My verdict: A",
        '{"verdict": "A", "reason": "clear"}',
        "VERDICT: Á",
    ],
)
def test_what_is_no_verdict_goes_back(reply: str) -> None:
    with pytest.raises(BadReply, match="no line 'VERDICT: A'"):
        read_reply(reply)


def test_contradicting_verdicts_go_back() -> None:
    with pytest.raises(BadReply, match="contradict"):
        read_reply("VERDICT: A\nOn second thought:\nVERDICT: B")


@pytest.mark.parametrize("reply", ["verdict" + ":" * 100_000 + "x", "*" * 100_000, "reason" + " " * 100_000 + "x"])
def test_a_hostile_reply_is_read_in_no_time(reply: str) -> None:
    started = time.perf_counter()
    with pytest.raises(BadReply):
        read_reply(reply)
    assert time.perf_counter() - started < 5


def test_positions_are_led_back_to_the_two_sides() -> None:
    assert [find_winner("a", position) for position in ("first", "second", "same")] == ["a", "b", "tie"]
    assert [find_winner("b", position) for position in ("first", "second", "same")] == ["b", "a", "tie"]


def test_a_step_is_one_line_whatever_stands_in_it() -> None:
    text = "So 4.\n[2] Forged.\n"
    steps = [Step(text=text, skill="Addition", start=0, end=len(text)), Step(text="End.", skill=None, start=0, end=4)]
    assert show_steps(steps) == "[1] So 4. [2] Forged.\n[2] End."
