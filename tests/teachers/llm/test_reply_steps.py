"""Decompositions read from replies: what is understood, and what is refused with which words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp.teachers.checks import check_steps
from drp.teachers.llm.reply import BadReply
from drp.teachers.llm.spans import SpansFormat
from drp.teachers.llm.text import TextFormat

THINKING = "First, 5 pies of 8 slices make 5 * 8 = 40.\n\nThen 14 are eaten. So 40 - 14 = 26 are left."
REPLY = (
    "Step 1: First, 5 pies of 8 slices make 5 * 8 = 40.\nSkill: Multiplication\n"
    "Step 2: Then 14 are eaten.\nSkill: Interpreting a quantity\n"
    "Step 3: So 40 - 14 = 26 are left.\nSkill: Subtraction"
)
STEPS = [
    ("First, 5 pies of 8 slices make 5 * 8 = 40.\n\n", "Multiplication"),
    ("Then 14 are eaten. ", "Interpreting a quantity"),
    ("So 40 - 14 = 26 are left.", "Subtraction"),
]


def read(reply: str, thinking: str = THINKING, with_skills: bool = True) -> list[tuple[str, str | None]]:
    steps = TextFormat("exact").read_steps(reply, thinking, with_skills).steps
    assert check_steps(thinking, steps) == []
    return [(step.text, step.skill) for step in steps]


def refuse(reply: str, thinking: str = THINKING, with_skills: bool = True) -> str:
    with pytest.raises(BadReply) as error:
        TextFormat("exact").read_steps(reply, thinking, with_skills)
    return str(error.value)


@pytest.mark.parametrize(
    "reply",
    [
        REPLY,
        REPLY.replace("\n", "\n\n"),
        REPLY.replace("\nSkill:", " Skill:"),
        f"Here is the segmentation:\n\n{REPLY}\n\nThat is all.",
        f"```\n{REPLY}\n```",
        REPLY.replace("Step 1:", "**Step 1:**").replace("Step 2:", "**Step 2**:").replace("Step 3:", "### Step 3:"),
        REPLY.replace("Skill: ", "**Skill:** ").replace("Subtraction", "*Subtraction*"),
        REPLY.replace("5 pies of 8", "5 pies\n  of  8"),
        REPLY.replace("Step 1:", "Step 4:").replace("Step 2:", "Step 5:"),
    ],
)
def test_variants_of_the_form_are_read_the_same(reply: str) -> None:
    assert read(reply) == STEPS


def test_quotes_dashes_and_ellipses_may_be_other_ones_of_their_kind() -> None:
    thinking = "He said “it’s 8 – 3 …” twice."
    assert read('Step 1: He said "it\'s 8 - 3 ..." twice.', thinking, with_skills=False) == [(thinking, None)]


def test_without_skills_only_the_next_number_is_a_heading() -> None:
    thinking = "Step 1: add.\nStep 7: carry.\nDone."
    assert read("Step 1: Step 1: add.\nStep 7: carry.\nStep 2: Done.", thinking, with_skills=False) == [
        ("Step 1: add.\nStep 7: carry.\n", None),
        ("Done.", None),
    ]


def test_a_heading_that_is_the_sources_own_counts_as_its_text() -> None:
    thinking = "Step 1: add 3.\nStep 2: take 4."
    assert read(thinking, thinking, with_skills=False) == [("Step 1: add 3.\n", None), ("Step 2: take 4.", None)]


def test_the_sources_own_step_lines_stay_inside_a_skilled_step() -> None:
    thinking = "Plan:\nStep 2: add.\nEnd."
    reply = "Step 1: Plan:\nStep 2: add.\nSkill: Planning\nStep 2: End.\nSkill: Ending"
    assert read(reply, thinking) == [("Plan:\nStep 2: add.\n", "Planning"), ("End.", "Ending")]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (REPLY.replace("8 = 40", "8 = 41"), "is not a copy of the reasoning: it has '1.' where the reasoning has '0."),
        (REPLY.replace("are left", "remain"), "step 3 is not a copy of the reasoning: it has 'remain.'"),
        (REPLY.replace("Step 2: Then 14 are eaten.\nSkill: Interpreting a quantity\n", ""), "is missing: 'Then 14 are"),
        (REPLY.replace("Then 14 are eaten.", ""), "step 2 has no text"),
        ("\n".join(REPLY.splitlines()[:4]), "the end of the reasoning is missing, from 'So 40 - 14"),
        ("\n".join(REPLY.splitlines()[2:]), "a piece of the reasoning is missing: 'First, 5 pies"),
        ("\n".join(REPLY.splitlines()[i] for i in (0, 1, 4, 5, 2, 3)), "is missing: 'Then 14 are eaten.'"),
        ("\n".join(REPLY.splitlines()[i] for i in (0, 1, 0, 1)), "step 2 is a repetition or out of order"),
        (REPLY + "\nStep 4: The answer is 26.\nSkill: Concluding", "step 4 comes after the reasoning's end"),
        (REPLY.replace("Skill: Subtraction", ""), "step 3 has no line 'Skill: ...'"),
        (REPLY.replace("Subtraction", "x" * 81), "the skill of step 3 is not a short name"),
        (REPLY.replace("14 are", "1\nSkill: a\nStep 3: 4 are"), "step 3 begins inside a word or a number"),
        ("I'm sorry, I can't help with that.", "no steps of the form 'Step 1: ...', each followed by"),
        ('{"steps": [{"text": "First, 5 pi', "no steps of the form"),
        ("", "no steps of the form"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(reply: str, problem: str) -> None:
    assert problem in refuse(reply)


def test_swapped_steps_are_refused_even_at_the_end() -> None:
    assert "step 2" in refuse("Step 1: a b\nStep 2: d e\nStep 3: c", "a b c d e", with_skills=False)


def test_a_step_may_not_begin_inside_a_number() -> None:
    assert "step 2 begins inside a word or a number" in refuse("Step 1: 3.\nStep 2: 14 is pi", "3.14 is pi", False)


def read_spans(reply: str, thinking: str = THINKING, with_skills: bool = True) -> list[tuple[str, str | None]]:
    steps = SpansFormat().read_steps(reply, thinking, with_skills).steps
    assert check_steps(thinking, steps) == []
    return [(step.text, step.skill) for step in steps]


def refuse_spans(reply: str, with_skills: bool = True) -> str:
    with pytest.raises(BadReply) as error:
        SpansFormat().read_steps(reply, THINKING, with_skills)
    return str(error.value)


def test_clauses_are_shown_numbered_one_a_line() -> None:
    assert SpansFormat().show_thinking(THINKING)["clauses"].splitlines() == [
        "[1] First, 5 pies of 8 slices make 5 * 8 = 40.",
        "[2] Then 14 are eaten.",
        "[3] So 40 - 14 = 26 are left.",
    ]


@pytest.mark.parametrize(
    "reply",
    [
        "1-2 | Reading\n3 | Subtraction",
        "Here you are:\n\n1-2 | Reading\n3 | Subtraction\n\nDone!",
        "```\n1–2 | Reading\n3-3 | Subtraction\n```",
        "| 1-2 | Reading |\n| 3 | Subtraction |",
        "**1-2** | *Reading*\n- [3]: Subtraction",
        "Clauses 1 to 2: Reading\nClause 3: Subtraction",
    ],
)
def test_ranges_become_steps(reply: str) -> None:
    assert read_spans(reply) == [(STEPS[0][0] + STEPS[1][0], "Reading"), (STEPS[2][0], "Subtraction")]


def test_ranges_without_skills() -> None:
    assert [skill for _, skill in read_spans("1\n2-3", with_skills=False)] == [None, None]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("1 | a\n3 | b", "no step has clause 2"),
        ("2-3 | b", "no step has clause 1"),
        ("1 | a", "no step has clauses 2-3"),
        ("1-2 | a\n2-3 | b", "clauses 2-3 repeats or goes back; clause 3 is the next one"),
        ("1 | a\n3 | b\n2 | c", "clause 2 repeats or goes back"),
        ("1-9 | a", "clause 9 does not exist; the last one is 3"),
        ("3-1 | a", "'3-1 | a' runs backwards"),
        ("1-2 | a\n3", "does not name a skill"),
        ("1-3 | " + "x" * 81, "does not name a skill in a few words"),
        ("I cannot do that.", "no line of the form '1-3 | Interpreting a quantity'"),
        ('[{"start": 1, "end"', "no line of the form"),
        ("", "no line of the form"),
    ],
)
def test_ranges_that_do_not_cover_the_clauses_are_refused(reply: str, problem: str) -> None:
    assert problem in refuse_spans(reply)


@given(st.text(min_size=1).filter(str.strip), st.data())
@settings(max_examples=100, deadline=None)
def test_any_grouping_of_any_text_tiles_it(thinking: str, data: st.DataObject) -> None:
    n = SpansFormat().show_thinking(thinking)["clauses"].count("\n") + 1
    cuts = sorted(data.draw(st.sets(st.integers(1, n))) | {n})
    reply = "\n".join(f"{a + 1}-{b} | Skill" for a, b in zip([0, *cuts], cuts, strict=False))
    assert len(read_spans(reply, thinking)) == len(cuts)
