"""Extraction of gold and predicted answers from text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp.grading.answers import MAX_ANSWER_CHARS, extract_answer, extract_gold


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("She makes 9 * 2 = $<<9*2=18>>18 every day.\n#### 18", "18"),
        ("It costs ...\n#### 65,960", "65960"),
        ("It costs ...\n#### $1,450,000", "1450000"),
        ("It falls by 10.\n#### -10\n", "-10"),
        ("#### 5 #### is not GSM8K's form\n#### 6", "6"),
        ("#### (1,200)", "(1,200)"),
        (
            "We have $r = 3.$ Therefore the point is $\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}.$",
            r"\left( 3, \frac{\pi}{2} \right)",
        ),
        (r"First $\boxed{1}$, then $\boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
        (r"so it is \boxed 5.", "5"),
        ("Some long solution. " * 30 + "The answer is: 42", "42"),
        ("27.0", "27"),
        ("-1.0", "-1"),
        ("204", "204"),
        ("025", "025"),
        ("$\\frac{1}{2}$", r"\frac{1}{2}"),
        (r"\text{Evelyn}", r"\text{Evelyn}"),
        (r"11,\! 111,\! 111,\! 100", r"11,\! 111,\! 111,\! 100"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("", None),
        ("   ", None),
        ("A solution that never says its result. " * 20, None),
    ],
)
def test_gold_answer_is_found(text: str, gold: str | None) -> None:
    assert extract_gold(text) == gold


@pytest.mark.parametrize(
    ("summary", "answer"),
    [
        (r"\boxed{18}", "18"),
        (r"\boxed{\frac{1}{1+\frac{1}{2}}}", r"\frac{1}{1+\frac{1}{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"\boxed{1}, \boxed{2}, or \boxed{3}", "1, 2, 3"),
        (r"\boxed{5} \text{ and } \boxed{6}", "5, 6"),
        (r"\boxed{5} \quad \text{and} \quad \boxed{6}", "5, 6"),
        (r"\boxed{5} apples and \boxed{6} pears", "6"),
        (r"\[ = \boxed{120} \] **Final Answer:** \boxed{120}", "120"),
        (r"\boxed{7}, and again, \boxed{7}", "7"),
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"\boxed{5} but then \boxed{6", "5"),
        (r"\boxed{ } The answer is 4.", "4"),
        (r"\boxed{4} The answer is 5.", "4"),
        ("The answer is 1,200 dollars.", "1,200 dollars"),
        ("**Final Answer:** 120 minutes", "120 minutes"),
        ("Final answer:\n\\[ x = 3 \\]", "x = 3"),
        ("The answer is 18. I hope the answer is clear.", "18"),
        ("The answer is Evelyn, since she is faster.", "Evelyn"),
        ("**Answer:** Janet makes $18 every day.", "$18"),
        ("Final Answer: The volume of $ABCD$ is 120. I hope it is correct.", "120"),
        ("Final Answer: The red cone.", "The red cone"),
        ("$p = -1, q = 2$", "p = -1, q = 2"),
        ("$f(x, y) = (a, b) = 3$", "3"),
        (r"$F_n = \sum_{k=0}^{n-1} F_k$", r"F_n = \sum_{k=0}^{n-1} F_k"),
        ("work\n#### 42", "42"),
        ("In total she has **42 apples**.", "42 apples"),
        ("**Total:** she has $42 in cash.", "$42"),
        ("The probability is $\\frac{3}{4}$.", r"\frac{3}{4}"),
        (r"\[ \text{Total} = 3 + 4 = 7 \text{ gallons} \]", r"7 \text{ gallons}"),
        ("It grew from 3 to 4,500.", "4,500"),
        ("It grew by 12.5%.", "12.5%"),
        ("It fell to -7 degrees.", "-7"),
        ("10-3", "10-3"),
        (r"x = 3\sqrt{2}", r"x = 3\sqrt{2}"),
        ("Evelyn", "Evelyn"),
        ("I do not know what to make of this at all.", None),
        ("", None),
        ("  \n ", None),
        ("<think>\nso it is \\boxed{5}", None),
        ("The answer is 5. <think>or \\boxed{6}", "5"),
        ("<think>\\boxed{6}</think>The answer is 5.", "5"),
        ("</think>\n\\boxed{5}", "5"),
        (r"\boxed{" + "1" * (MAX_ANSWER_CHARS + 1) + "}", None),
        (r"\boxed{" + "1" * MAX_ANSWER_CHARS + "}", "1" * MAX_ANSWER_CHARS),
    ],
)
def test_predicted_answer_is_found(summary: str, answer: str | None) -> None:
    assert extract_answer(summary) == answer


_PIECES = st.sampled_from(
    [
        "\\boxed{",
        "{",
        "}",
        "\\",
        "$",
        "$$",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "**",
        "####",
        "answer is",
        "Answer:",
        "=",
        "\n",
        "1,200",
        "3.5",
        "%",
        "\\frac{1}{2}",
        "and",
        ",",
        " ",
        "<think>",
        "</think>",
        "\ud800",
        "\0",
        "x",
    ]
)


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=60).map("".join)))
def test_extraction_never_fails_and_never_invents(text: str) -> None:
    for answer in (extract_answer(text), extract_gold(text)):
        assert answer is None or (answer.strip() and len(answer) <= max(MAX_ANSWER_CHARS, len(text)))


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "}",
        "\\boxed{",
        "\\boxed{}",
        "\\boxed{1}",
        "<think>",
        "#### ",
        "answer is ",
        "answer: 1\n",
        "**",
        "$",
        "$1",
        "\\[",
        "\\(",
        "1",
        "1,",
        "1,111",
        "\\",
        "\\frac{1}{",
        " ",
        "\n",
        "-",
        "$$",
        "\\boxed ",
        "=",
        "a=",
        "<think></think>",
        "**1** ",
    ],
)
def test_extraction_takes_linear_time(piece: str) -> None:
    text = piece * (500_000 // len(piece))
    started = time.process_time()
    extract_answer(text)
    extract_gold(text)
    assert time.process_time() - started < 2
