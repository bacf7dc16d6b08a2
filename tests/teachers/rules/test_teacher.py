"""The offline teacher on reasoning of the kind that R1-Distill and the tiny student write."""

import asyncio
import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drp.errors import RecordError
from drp.records import Action, Decomposition, Trace
from drp.teachers.base import Method, Revision
from drp.teachers.numbers import find_figures
from drp.teachers.rules.teacher import RulesTeacher

METHODS: tuple[Method, ...] = ("skill", "default", "sentence")
DATA = Path(os.environ.get("DRP_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "traces"

QUESTION = "A farm has 12 crates with 3 apples each. 4 apples are rotten. How many good apples are there?"
OVERTHINKING = """Okay, so I need to find how many good apples there are. There are 12 crates with 3 apples each.

Hmm, let me think about this.

First, I multiply the crates by the apples in each. 12 x 3 = 48.

Wait, no, that's not right. Let me see, 12 x 3 = 36, so there are 36 apples in total.

Next, I'll calculate the final count. 36 - 4 = 32.

So there are 32 good apples.

Wait, let me double-check that. 12 x 3 = 36, and 36 - 4 = 32. Yes, that's correct.

Alternatively, I could add 32 + 4 = 36, which matches. I'm confident about it."""
SUMMARY = """**Solution:**

1. **Apples in total:** 12 x 3 = 36

2. **Good apples:** 36 - 4 = 32

Therefore, there are \\(\\boxed{32}\\) good apples."""


def make_trace(thinking: str, summary: str = SUMMARY, predicted: str | None = "32", question: str = QUESTION) -> Trace:
    return Trace(
        id="t-0#0",
        problem_id="t-0",
        question=question,
        answer=predicted or "32",
        response=f"{thinking}\n</think>\n\n{summary}",
        thinking=thinking,
        summary=summary,
        predicted=predicted,
        correct=True,
        finish_reason="stop",
        n_tokens=None,
        model="student",
    )


def decompose(trace: Trace, method: Method = "skill") -> Decomposition:
    segmentation = asyncio.run(RulesTeacher(method).decompose(trace))
    return Decomposition(**trace.model_dump(), steps=segmentation.steps, teacher="rules", usage=segmentation.usage)


def prune(trace: Trace, method: Method = "skill") -> Revision:
    return asyncio.run(RulesTeacher(method).prune(decompose(trace, method)))


TEXTS = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="aZ 019.,;:?!$\\()[]{}*`\n=+-é😀", max_size=300),
    st.lists(
        st.sampled_from(
            [
                "So, ",
                "12 x 3 = 36. ",
                "\\[ x",
                " = 4 \\]",
                "$5",
                "1,200",
                "3.5",
                "Wait, no. ",
                "\n\n",
                "**",
                ", so ",
                "e.g. ",
            ]
        ),
        max_size=40,
    ).map("".join),
)


@pytest.mark.parametrize("method", METHODS)
@given(thinking=TEXTS)
@example(thinking="x")
@example(thinking="$")
@example(thinking="\\[ 1 = 1. So\n\n")
@example(thinking="\n \n a")
@settings(max_examples=150, deadline=None)
def test_steps_tile_any_thinking(method: Method, thinking: str) -> None:
    trace = make_trace(thinking)
    if not thinking.strip():
        with pytest.raises(RecordError, match="t-0#0"):
            decompose(trace, method)
        return
    steps = decompose(trace, method).steps
    assert [s.start for s in steps] == [0, *(s.end for s in steps[:-1])]
    assert steps[-1].end == len(thinking)
    assert all(s.text == thinking[s.start : s.end] and s.text.strip() for s in steps)


@pytest.mark.parametrize("method", METHODS)
@given(thinking=TEXTS, summary=TEXTS)
@settings(max_examples=100, deadline=None)
def test_every_step_of_any_thinking_gets_one_edit_and_no_number_is_invented(
    method: Method, thinking: str, summary: str
) -> None:
    if not thinking.strip():
        return
    trace = make_trace(thinking, summary, "36")
    revision = prune(trace, method)
    n_steps = len(decompose(trace, method).steps)
    assert [i for edit in revision.edits for i in edit.sources] == list(range(n_steps))
    assert find_figures(f"{revision.thinking} {revision.summary}") <= find_figures(f"{thinking} {summary} {QUESTION}")
    assert len(revision.thinking) <= len(thinking)


def test_empty_thinking_is_refused_by_prune_too() -> None:
    decomposition = Decomposition(**make_trace(" \n").model_dump(), steps=[], teacher="rules", usage={})
    with pytest.raises(RecordError, match="no thinking"):
        asyncio.run(RulesTeacher().prune(decomposition))


@pytest.mark.parametrize("method", METHODS)
def test_goal_steps_and_conclusion_survive_overthinking(method: Method) -> None:
    thinking = prune(make_trace(OVERTHINKING), method).thinking
    assert thinking.startswith("Okay, so I need to find how many good apples there are.")
    assert "12 x 3 = 36" in thinking
    assert "36 - 4 = 32" in thinking
    assert thinking.endswith("So there are 32 good apples.")


@pytest.mark.parametrize("method", METHODS)
def test_a_retracted_value_does_not_survive(method: Method) -> None:
    thinking = prune(make_trace(OVERTHINKING), method).thinking
    assert "48" not in thinking
    assert "not right" not in thinking


@pytest.mark.parametrize("waste", ["double-check", "Hmm", "let me think", "Alternatively", "confident", "correct"])
def test_hedges_checks_and_alternatives_after_the_answer_go(waste: str) -> None:
    assert waste not in prune(make_trace(OVERTHINKING)).thinking


def test_all_four_actions_occur_where_they_are_apt() -> None:
    edits = prune(make_trace(OVERTHINKING)).edits
    assert {edit.action for edit in edits} == set(Action)
    steps = decompose(make_trace(OVERTHINKING)).steps
    for edit in edits:
        if edit.action is Action.KEEP:
            assert edit.text == steps[edit.sources[0]].text
        if edit.action is Action.DELETE:
            assert edit.text == ""
        if edit.action is Action.MERGE:
            assert len(edit.sources) > 1
            assert edit.sources == list(range(edit.sources[0], edit.sources[-1] + 1))


def test_a_result_that_a_later_step_uses_stays() -> None:
    thinking = (
        "First, 4 x 5 = 20 pens. The box has 7 more, so 20 + 7 = 27 pens. Then 27 x 2 = 54. So, there are 54 pens."
    )
    question = "Tom has 4 packs of 5 pens and a box with 7 more. He doubles them. How many pens?"
    pruned = prune(make_trace(thinking, "The answer is 54.", "54", question)).thinking
    assert all(result in pruned for result in ("= 20", "= 27", "= 54"))


def test_an_intermediate_value_that_equals_the_answer_does_not_end_the_trace() -> None:
    question = "Ann buys 20 pens. Making them costs $20 in all and each sells for $2. What is her profit?"
    thinking = (
        "Okay, so I need to figure out her profit. The cost is 20 x 1 = 20 dollars. Wait, is that right? "
        "Let me check.\n\nThe revenue is 20 x 2 = 40 dollars.\n\nSo her profit is 40 - 20 = 20 dollars."
    )
    pruned = prune(make_trace(thinking, "Her profit is \\boxed{20} dollars.", "20", question)).thinking
    assert "20 x 2 = 40" in pruned
    assert pruned.endswith("So her profit is 40 - 20 = 20 dollars.")


TINY_QUESTION = "Ann has 9 packs with 7 pens in each. Then she gives away 11 pens. How many pens does Ann have now?"
TINY_STEPS = [
    "First, I need to find how many pens are in the packs. 9 * 7 = 63, so there are 63 pens in the packs.",
    "First, Ann has 9 packs with 7 pens in each, so 9 * 7 = 63. That means there are 63 pens in the packs.",
    "First, I multiply to get 9 * 7 = 63. So there are 63 pens in the packs. Hmm, 63 / 7 = 9, so that adds up.",
    "Maybe I should add here, so 9 + 7 = 16. Wait, no, that's not right. Ann has 9 packs with 7 pens in each, so I "
    "need to multiply. First, 9 * 7 = 63, so there are 63 pens in the packs. So far, so good.",
    "I could add the numbers and get 9 + 7 = 16. Wait, that doesn't make sense, because Ann has 9 packs with 7 pens in "
    "each. First, 9 * 7 = 63, so there are 63 pens in the packs.",
]


OUTCOME = "First, 9 * 7 = 63, so there are 63 pens in the packs."
TINY_SENTENCES = [
    OUTCOME,
    "First, Ann has 9 packs with 7 pens in each, so 9 * 7 = 63.",
    "First, I multiply to get 9 * 7 = 63. So there are 63 pens in the packs.",
    OUTCOME,
    OUTCOME,
]
"""A computation keeps the words that say which operation it is and why, if the step has them, or its outcome."""


@pytest.mark.parametrize(("step", "sentence"), list(zip(TINY_STEPS, TINY_SENTENCES, strict=True)))
def test_a_computation_keeps_the_reason_of_its_operation_or_its_outcome(step: str, sentence: str) -> None:
    thinking = (
        "Okay, so I need to find how many pens Ann has now.\n\nFirst, let me go over the facts. Ann has 9 packs with 7 "
        f"pens in each. Then she gives away 11 pens.\n\n{step}\n\nFinally, she gives away 11 pens, so that's "
        "63 - 11 = 52.\n\nSo, Ann has 52 pens now.\n\nI think that's solid. The answer should be 52."
    )
    assert prune(make_trace(thinking, "The answer is \\boxed{52}.", "52", TINY_QUESTION)).thinking == (
        "Okay, so I need to find how many pens Ann has now.\n\n"
        f"{sentence}\n\n"
        "Finally, she gives away 11 pens, so that's 63 - 11 = 52.\n\nSo, Ann has 52 pens now."
    )


def test_a_check_within_a_step_does_not_end_the_trace_where_its_result_equals_the_answer() -> None:
    question = "Kate buys 5 plates for 10 dollars each. She pays with 100 dollars. How many dollars does Kate get back?"
    thinking = (
        "Let me figure out how many dollars Kate gets back.\n\nFirst, 5 * 10 = 50, so the plates cost 50 dollars. "
        "Let me verify: 10 * 5 = 50. Okay, that matches.\n\nNext, I subtract to get 100 - 50 = 50. So Kate gets 50 "
        "dollars back.\n\nSo in the end, Kate gets 50 dollars back."
    )
    pruned = prune(make_trace(thinking, "The answer is \\boxed{50}.", "50", question)).thinking
    assert pruned.count(" = 50") == 2
    assert "10 * 5" not in pruned


def test_an_aim_and_its_computation_become_one_sentence() -> None:
    question = "Ann feeds each of 20 chickens three cups of feed. How many cups of feed does she need per day?"
    thinking = (
        "First, I need to determine the total amount of feed per day. Ann feeds each chicken three cups of feed, and "
        "she has 20 chickens. So, the total feed per day is 20 chickens multiplied by 3 cups per chicken, which equals "
        "60 cups.\n\nTherefore, Ann needs 60 cups of feed per day."
    )
    revision = prune(make_trace(thinking, "She needs \\boxed{60} cups.", "60", question))
    assert revision.thinking == (
        "First, the total feed per day is 20 chickens × 3 cups per chicken = 60 cups.\n\n"
        "Therefore, Ann needs 60 cups of feed per day."
    )
    assert Action.MERGE in {edit.action for edit in revision.edits}


def test_a_remark_goes_with_the_fact_that_it_is_about() -> None:
    question = (
        "Two trains travel 80 miles west on one day and 150 miles north on the next. How far does each train travel?"
    )
    thinking = (
        "First, I need to determine the distance each train travels.\n\nOn the first day, both trains travel 80 miles. "
        "Since they start at the same time, they cover the same distance.\n\n"
        "So, each train travels 80 miles + 150 miles = 230 miles."
    )
    pruned = prune(make_trace(thinking, "Each travels \\boxed{230} miles.", "230", question)).thinking
    assert "same" not in pruned
    assert pruned.endswith("So, each train travels 80 miles + 150 miles = 230 miles.")


def test_an_answer_below_one_without_its_zero_is_recognised() -> None:
    thinking = (
        "So the decimal is 672 / 10000000 = 0.0000672. Wait, let me double-check that. Yes, it is 672 / 10000000."
    )
    pruned = prune(make_trace(thinking, "It is \\boxed{.0000672}.", ".0000672", "Write 672 / 10000000 as a decimal."))
    assert "0.0000672" in pruned.thinking


def test_summary_shrinks_to_its_boxed_conclusion() -> None:
    assert prune(make_trace(OVERTHINKING)).summary == "Therefore, there are \\(\\boxed{32}\\) good apples."


@pytest.mark.parametrize("summary", ["", "I could not finish.", "The answer is 32."])
def test_a_summary_that_cannot_be_condensed_stays(summary: str) -> None:
    assert prune(make_trace(OVERTHINKING, summary, "32" if "32" in summary else None)).summary == summary


def test_a_concise_trace_is_left_as_it_is() -> None:
    concise = "Each crate has 3 apples. So, 12 x 3 = 36 apples. Therefore, 36 - 4 = 32 good apples are left."
    revision = prune(make_trace(concise))
    assert revision.thinking.endswith("Therefore, 36 - 4 = 32 good apples are left.")
    assert "12 x 3 = 36" in revision.thinking


def test_the_same_trace_gives_the_same_revision() -> None:
    assert prune(make_trace(OVERTHINKING)) == prune(make_trace(OVERTHINKING))


def test_it_is_free_and_named() -> None:
    usage = prune(make_trace(OVERTHINKING)).usage
    assert (RulesTeacher.name, usage.calls, usage.cost_usd) == ("rules", 0, 0.0)


@pytest.mark.parametrize(
    "unit", ["a", "7", "$x ", "\\[", "(", ". ", "...", "\n", ", so 5", "wait, ", "1/2", "**", '"', "\\text{a "]
)
def test_hostile_text_takes_no_more_than_seconds(unit: str) -> None:
    started = time.process_time()
    prune(make_trace((unit * (100_000 // len(unit))) + "x"))
    assert time.process_time() - started < 20


def test_a_long_trace_takes_about_a_second() -> None:
    thinking = (OVERTHINKING + "\n\n") * (100_000 // len(OVERTHINKING))
    started = time.process_time()
    decompose(make_trace(thinking))
    assert time.process_time() - started < 8


def load_traces(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no real traces at {path}")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", ["gsm8k_r1_distill_qwen_1.5b.jsonl", "math500_r1_distill_qwen_14b.jsonl"])
def test_real_traces_tile_shrink_and_keep_their_boxed_answer(name: str) -> None:
    before = after = 0
    for row in load_traces(name):
        thinking, _, summary = row["response"].partition("</think>")
        boxes = re.findall(r"\\boxed\{([^{}]+)\}", summary)
        trace = make_trace(thinking, summary, boxes[-1] if boxes else None, row["question"])
        assert "".join(step.text for step in decompose(trace).steps) == thinking
        revision = prune(trace)
        source = find_figures(f"{row['response']} {row['question']}")
        assert find_figures(f"{revision.thinking} {revision.summary}") <= source
        assert not boxes or boxes[-1] in revision.summary
        assert len(revision.thinking) <= len(thinking)
        before += len(thinking)
        after += len(revision.thinking)
    assert after < 0.65 * before
