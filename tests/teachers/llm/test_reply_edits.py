"""Revisions read from replies, and steps put together again."""

import pytest

from drp.teachers.llm.division import estimate_tokens
from drp.teachers.llm.reply import BadReply, PartRevision, ReplyFormat, TracePart
from drp.teachers.llm.spans import SpansFormat
from drp.teachers.llm.text import TextFormat
from tests.teachers.llm.cases import make_steps

STEPS = make_steps("First, 5 * 8 = 40. ", "Hmm, wait.\n\n", "Then 14 are eaten, ", "so 40 - 14 = 26. ", "It is 26.")
PART = TracePart(STEPS, 0, is_last=True)
LIST = """\
Step 1: SINGLE-STEP COMPRESS: 5 * 8 = 40.
Step 2: DELETE
Steps 3-4: MULTI-STEP COMPRESS: 40 - 14 = 26.
Step 5: KEEP
"""
THINKING = "=== PRUNED THINKING ===\n5 * 8 = 40, and 40 - 14 = 26.\n\nIt is 26.\n"
ANSWER = "=== PRUNED ANSWER ===\nSo **26**."
SPANS = "1 REWRITE: 5 * 8 = 40.\n2 DELETE\n3-4 MERGE: 40 - 14 = 26.\n5 KEEP\n"
EDITS = [
    ("rewrite", [0], "5 * 8 = 40."),
    ("delete", [1], ""),
    ("merge", [2, 3], "40 - 14 = 26."),
    ("keep", [4], "It is 26."),
]


def plain(revision: PartRevision) -> list[tuple[str, list[int], str]]:
    return [(edit.action.value, edit.sources, edit.text) for edit in revision.edits]


@pytest.mark.parametrize(
    "listed",
    [
        LIST,
        "My revision:\n\n" + LIST.replace("\n", "\n\n"),
        LIST.replace("Step 1: SINGLE-STEP COMPRESS:", "1. **SINGLE-STEP COMPRESS**:").replace("Step 2:", "2."),
        LIST.replace("Step 1: SINGLE-STEP COMPRESS: ", "**Step 1: SINGLE-STEP COMPRESS**\nRevised: "),
        LIST.replace("DELETE", "DELETE: This step is now included in the previous one.\nIt repeats."),
        LIST.replace("Step 5: KEEP", "Step 5: KEEP (needed and concise)"),
        LIST.replace("Steps 3-4:", "Steps 3 and 4:").replace("MULTI-STEP COMPRESS: 40", "MULTI-STEP COMPRESS:\n40"),
        LIST.replace("Steps 3-4: MULTI-STEP COMPRESS", "### Step 3, Step 4 – MERGE"),
        LIST.replace("MULTI-STEP", "SINGLE-STEP"),
        LIST.replace("SINGLE-STEP COMPRESS", "SINGLE STEP COMPRESS").replace("Step 2: DELETE", "- Step 2: [DELETE]"),
    ],
)
def test_all_four_actions_are_read_from_text(listed: str) -> None:
    revision = TextFormat().read_revision(f"{listed}\n{THINKING}{ANSWER}", PART)
    assert plain(revision) == EDITS
    assert revision.thinking.strip() == "5 * 8 = 40, and 40 - 14 = 26.\n\nIt is 26."
    assert revision.summary == "So **26**."


@pytest.mark.parametrize(
    "marker", ["## PRUNED THINKING", "**PRUNED THINKING**", "PRUNED THINKING:", "[PRUNED THINKING]"]
)
def test_markers_may_be_decorated(marker: str) -> None:
    reply = f"{LIST}\n{THINKING}{ANSWER}".replace("=== PRUNED THINKING ===", marker)
    assert plain(TextFormat().read_revision(reply, PART)) == EDITS


def test_a_final_answer_heading_of_the_students_is_not_a_marker() -> None:
    reply = f"{LIST}\n{THINKING}**Final Answer**\n26\n{ANSWER}"
    assert TextFormat().read_revision(reply, PART).thinking.strip().endswith("**Final Answer**\n26")


@pytest.mark.parametrize(
    "answer", ["UNCHANGED", "unchanged".upper() + ".", "**UNCHANGED**", "UNCHANGED\n\nHope it helps!"]
)
def test_an_unchanged_answer_is_none(answer: str) -> None:
    assert TextFormat().read_revision(f"{LIST}{THINKING}=== PRUNED ANSWER ===\n{answer}", PART).summary is None
    assert SpansFormat().read_revision(f"{SPANS}ANSWER: {answer}", PART).summary is None


def test_a_part_that_is_not_the_last_has_no_answer() -> None:
    part = TracePart(STEPS, 0, is_last=False)
    for reply in (f"{LIST}\n{THINKING}", f"{LIST}\n{THINKING}{ANSWER}"):
        assert TextFormat().read_revision(reply, part).summary is None
    assert SpansFormat().read_revision(SPANS, part).summary is None


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            LIST,
            "exactly once, after the list of actions, the line '=== PRUNED THINKING ===' and '=== PRUNED ANSWER ==='",
        ),
        (LIST + THINKING, "'=== PRUNED ANSWER ==='"),
        (LIST + "=== PRUNED THINKING ===\n" + ANSWER, "nothing stands under '=== PRUNED THINKING ==='"),
        (LIST + THINKING + "=== PRUNED ANSWER ===\n", "nothing stands under '=== PRUNED ANSWER ==='"),
        (LIST + THINKING + THINKING + ANSWER, "exactly once"),
        (LIST + ANSWER + "\n" + THINKING, "exactly once"),
        (THINKING + ANSWER, "no line gives a step one of the four actions"),
        (THINKING + LIST + ANSWER, "no line gives a step one of the four actions"),
        (LIST.replace("3-4", "4-3") + THINKING + ANSWER, "'4-3' is not a range of steps"),
        (LIST.replace("3-4", "3-99999999999") + THINKING + ANSWER, "is not a range of steps"),
        ("I cannot help with that.", "exactly once"),
        ("", "exactly once"),
    ],
)
def test_text_revisions_without_their_parts_are_refused(reply: str, problem: str) -> None:
    with pytest.raises(BadReply) as error:
        TextFormat().read_revision(reply, PART)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "reply",
    [
        SPANS + "ANSWER: So **26**.",
        SPANS + "**ANSWER:** So **26**.",
        SPANS + "ANSWER\nSo **26**.",
        "```\n" + SPANS + "ANSWER: So **26**.\n```",
        SPANS.replace("MERGE: ", "MERGE:\n").replace("2 DELETE", "**2**: DELETE") + "ANSWER: So **26**.",
        SPANS.replace("REWRITE", "SINGLE-STEP COMPRESS").replace("MERGE", "MULTI-STEP COMPRESS") + "ANSWER: So **26**.",
    ],
)  # fmt: skip
def test_all_four_actions_are_read_from_spans(reply: str) -> None:
    revision = SpansFormat().read_revision(reply, PART)
    assert plain(revision) == EDITS
    assert revision.thinking == "5 * 8 = 40.\n\n40 - 14 = 26. It is 26."
    assert revision.summary == "So **26**."


def test_a_part_of_which_nothing_is_left_has_no_thinking() -> None:
    part = TracePart(STEPS, 0, is_last=False)
    text = TextFormat().read_revision("Steps 1-5: DELETE\n=== PRUNED THINKING ===\n", part)
    assert text.thinking.strip() == SpansFormat().read_revision("1-5 DELETE", part).thinking == ""


def test_ranges_of_kept_and_deleted_steps_are_one_edit_each() -> None:
    revision = SpansFormat().read_revision("1-2 KEEP\n3-5 DELETE\nANSWER UNCHANGED", PART)
    assert [edit.sources for edit in revision.edits] == [[0], [1], [2], [3], [4]]
    assert revision.edits[0].text == STEPS[0].text


def test_an_answer_of_several_lines_may_hold_anything() -> None:
    answer = "**Solution:**\n\n1. Add\n2. Keep\n\nANSWER: \\boxed{26}"
    assert SpansFormat().read_revision(f"{SPANS}ANSWER: {answer}", PART).summary == answer


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (SPANS, "the last line is missing: 'ANSWER UNCHANGED'"),
        (SPANS + "ANSWER:", "nothing stands after ANSWER"),
        (SPANS.replace("2 DELETE\n", "") + "ANSWER UNCHANGED", "steps that have no action: 2"),
        (SPANS.replace("3-4", "2-4") + "ANSWER UNCHANGED", "steps that have more than one action: 2"),
        (SPANS.replace("3-4", "3") + "ANSWER UNCHANGED", "steps that have no action: 4"),
        (SPANS + "6 KEEP\nANSWER UNCHANGED", "steps that do not exist: 6"),
        (SPANS.replace(" 5 * 8 = 40.", "") + "ANSWER UNCHANGED", "step 1: the new text is missing"),
        ("ANSWER UNCHANGED", "no line gives a step one of the four actions"),
        ("Sorry.", "no line gives a step one of the four actions; the reply begins 'Sorry.'"),
    ],
)
def test_spans_revisions_without_their_parts_are_refused(reply: str, problem: str) -> None:
    with pytest.raises(BadReply) as error:
        SpansFormat().read_revision(reply, PART)
    assert problem in str(error.value)


def test_numbers_of_a_later_part_are_those_of_the_whole() -> None:
    part = TracePart(make_steps("A 1. ", "B 2."), 40, is_last=True)
    assert SpansFormat().show_steps(part) == "[41] (Addition) A 1.\n[42] (Addition) B 2."
    assert TextFormat().show_steps(part).startswith("Step 41: A 1.\nSkill: Addition\nStep 42: ")
    revision = SpansFormat().read_revision("41 DELETE\n42 KEEP\nANSWER UNCHANGED", part)
    assert [edit.sources for edit in revision.edits] == [[40], [41]]
    assert revision.thinking == "B 2."


def test_new_texts_that_the_list_leaves_out_are_taken_from_the_pruned_reasoning() -> None:
    listed = "Step 1: SINGLE-STEP COMPRESS\nStep 2: DELETE\nSteps 3-4: MULTI-STEP COMPRESS\nStep 5: KEEP\n"
    thinking = "=== PRUNED THINKING ===\nWell, 5 * 8 = 40. Then 40 - 14 = 26 as 14 are eaten. It is 26.\n"
    revision = TextFormat().read_revision(f"{listed}\n{thinking}{ANSWER}", PART)
    assert plain(revision) == [
        ("rewrite", [0], "Well, 5 * 8 = 40."),
        ("delete", [1], ""),
        ("merge", [2, 3], "Then 40 - 14 = 26 as 14 are eaten."),
        ("keep", [4], "It is 26."),
    ]


def test_a_step_whose_words_went_into_another_sentence_gets_that_sentence() -> None:
    listed = "Step 1: SINGLE-STEP COMPRESS\nStep 2: DELETE\nStep 3: SINGLE-STEP COMPRESS\nSteps 4-5: KEEP\n"
    thinking = "=== PRUNED THINKING ===\n5 * 8 = 40, so 40 - 14 = 26.\n"
    revision = TextFormat().read_revision(f"{listed}\n{thinking}{ANSWER}", PART)
    assert all(edit.text for edit in revision.edits if edit.action.value != "delete")
    assert revision.edits[0].text == "5 * 8 = 40, so 40 - 14 = 26."


@pytest.mark.parametrize("form", [TextFormat(), SpansFormat()])
def test_the_answer_segment_is_expected_with_the_last_part_only(form: ReplyFormat) -> None:
    last, earlier = (TracePart(STEPS, 0, is_last) for is_last in (True, False))
    summary = 20 * "So 12. "
    added = form.estimate_edits(last, summary) - form.estimate_edits(earlier, summary)
    assert added == pytest.approx(estimate_tokens(summary) / 2, abs=1)
    assert form.estimate_edits(last, "") == form.estimate_edits(earlier, "")
