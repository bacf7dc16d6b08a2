"""Verdicts on answers in all the styles in which responses state them."""

from collections.abc import Iterator

import pytest

from drp.config.sections import GradingSettings
from drp.grading import Grade, Grader, canonical

# (what the response says, gold answer): right ones. Golds are in the styles of GSM8K, MATH500, AIME24 and AMC23.
RIGHT = [
    # One number, stated in many ways.
    (r"\boxed{18}", "18"),
    (r"So she earns \(\boxed{18}\) dollars.", "18"),
    (r"\[ 9 \times 2 = \boxed{18} \]", "18"),
    (r"$$\boxed{18}$$", "18"),
    (r"**Final Answer:** \boxed{18}", "18"),
    (r"\fbox{18}", "18"),
    (r"\boxed{ 18 }", "18"),
    (r"\boxed{18.}", "18"),
    (r"\boxed{\$18}", "18"),
    (r"\boxed{$18}", "18"),
    (r"\boxed{\$18.00}", "18"),
    (r"\boxed{18 \text{ dollars}}", "18"),
    (r"\boxed{18\,\text{dollars}}", "18"),
    (r"\boxed{18 \, \text{dollars per day}}", "18"),
    (r"\boxed{18 dollars}", "18"),
    (r"\boxed{18\ \mathrm{USD}}", "18"),
    (r"\boxed{\text{18}}", "18"),
    (r"\boxed{\text{18 dollars}}", "18"),
    (r"\boxed{\boxed{18}}", "18"),
    (r"\boxed{\mathbf{18}}", "18"),
    (r"\boxed{x = 18}", "18"),
    (r"\boxed{x=18}", "x=18"),
    ("The answer is 18", "18"),
    ("The answer is 18.", "18"),
    ("The answer is: 18", "18"),
    ("The final answer is $18$.", "18"),
    ("The final answer is $18", "18"),
    ("The final answer is: $\\boxed{18}$. I hope it is correct.", "18"),
    ("the answer to the problem is **18**.", "18"),
    ("**Answer:** 18", "18"),
    ("**Answer**: 18 dollars", "18"),
    ("**Final Answer**\n\n18", "18"),
    ("### Final Answer\n18", "18"),
    ("Answer: 18.", "18"),
    ("Answer: $18 per day", "18"),
    ("ANSWER = 18", "18"),
    ("The correct answer is therefore 18, because 9 * 2 = 18.", "18"),
    ("The answer is \\(18\\) dollars.", "18"),
    ("The answer is\n\n\\[\n18\n\\]", "18"),
    ("She sells 9 eggs.\n#### 18", "18"),
    ("#### $1,800", "1800"),
    ("So Janet makes **18** dollars.", "18"),
    ("So Janet makes **$18** every day.", "18"),
    ("So Janet makes **\\$18** every day.", "18"),
    ("Janet makes **18 dollars** a day.", "18"),
    ("Janet makes $18 every day at the market.", "18"),
    ("Therefore, Janet makes 18 dollars.", "18"),
    ("9 x 2 = 18", "18"),
    ("18", "18"),
    (" 18 \n", "18"),
    ("$18$", "18"),
    ("She makes 9 * 2 = $<<9*2=18>>18.\nThe answer is 18. Let me know if the answer is clear!", "18"),
    ("First **3** and then **18**.", "18"),
    ("1. **Eggs laid daily:** 16\n2. **Eggs sold:** 9\n\nRevenue: 9 × 2 = $18", "18"),
    # Thousands, signs, decimals, leading zeros, scale.
    (r"\boxed{1,200}", "1200"),
    (r"\boxed{1200}", "1,200"),
    (r"\boxed{1{,}200}", "1200"),
    (r"\boxed{1,\!200}", "1200"),
    (r"\boxed{\$1,\!450,\!000}", "1,450,000"),
    (r"\boxed{70,\!000 \text{ dollars}}", "70000"),
    (r"\boxed{10080}", r"10,\!080"),
    (r"\boxed{11,111,111,100}", r"11,\! 111,\! 111,\! 100"),
    (r"\boxed{32348}", r"\$32,\!348"),
    (r"\boxed{\$32,348}", r"\$32,\!348"),
    (r"\boxed{58500}", "58,500"),
    (r"\boxed{\$36}", r"\$36"),
    (r"\boxed{18.9}", r"\$18.90"),
    ("The answer is 1,200 dollars.", "1200"),
    ("He pays $65,960 in total.", "65,960"),
    (r"\boxed{1.45 \text{ million}}", "1450000"),
    ("The answer is $1.5 million.", "1,500,000"),
    (r"\boxed{-10}", "-10"),
    ("The temperature is -3 degrees.", "-3"),
    (r"\boxed{−10}", "-10"),
    (r"\boxed{27}", "27.0"),
    (r"\boxed{27.0}", "27"),
    (r"\boxed{27.00}", "27.0"),
    (r"\boxed{25}", "025"),
    (r"\boxed{073}", "073"),
    (r"\boxed{73}", "073"),
    (r"\boxed{+5}", "5"),
    (r"\boxed{1.25}", "1.25"),
    (r"\boxed{0.35625}", ".35625"),
    (r"\boxed{.35625}", "0.35625"),
    (r"\boxed{0.0000672}", ".0000672"),
    (r"\boxed{6.72 \times 10^{-5}}", ".0000672"),
    (r"\boxed{\frac{5}{4}}", "1.25"),
    (r"\boxed{3.210}", "3.21"),
    (r"\boxed{0.333333}", r"\frac{1}{3}"),
    # Fractions.
    (r"\boxed{\dfrac{13}{15}}", r"\frac{13}{15}"),
    (r"\boxed{13/15}", r"\frac{13}{15}"),
    (r"\boxed{\frac{26}{30}}", r"\frac{13}{15}"),
    (r"\boxed{\tfrac{13}{15}}", "13/15"),
    ("The answer is 13/15.", r"\frac{13}{15}"),
    ("The probability is $\\frac{13}{15}$.", r"\frac{13}{15}"),
    ("The probability is \\frac{13}{15}.", r"\frac{13}{15}"),
    (r"\boxed{\frac43}", r"\frac{4}{3}"),
    (r"\boxed{\frac{4}{3}}", r"\frac43"),
    (r"\boxed{\frac{5}{9}}", r"\frac 59"),
    (r"\boxed{\frac{9}{19}}", r"\frac9{19}"),
    (r"\boxed{-\frac{35}{9}}", r"-\frac{35}{9}"),
    (r"\boxed{\frac{-35}{9}}", r"-\frac{35}{9}"),
    (r"\boxed{\dfrac{33}{100}}", r"0.33"),
    (r"\boxed{\frac{9}{5}}", r"1\frac{4}{5}"),
    (r"\boxed{1.8}", r"1\frac{4}{5}"),
    (r"\boxed{1 \frac{4}{5}}", r"1\frac{4}{5}"),
    (r"\boxed{137.5}", r"137 \frac{1}{2}"),
    (r"\boxed{\frac{11 + 9a}{20}}", r"\frac{11+9a}{20}"),
    (r"\boxed{\frac{9a+11}{20}}", r"\frac{11+9a}{20}"),
    (r"\boxed{\frac{20{,}000}{\pi}}", r"\frac{20000}{\pi}"),
    # Units, degrees, percent.
    (r"\boxed{5 \text{ hours}}", "5"),
    (r"\boxed{5}", r"5 \text{ hours}"),
    (r"\boxed{5 hours}", "5"),
    (r"\boxed{120 \, \text{minutes}}", "120"),
    (r"\boxed{6.67 \text{ miles per hour}}", "6.67"),
    (r"\boxed{15 \text{ cm}^2}", r"15\mbox{ cm}^2"),
    (r"\boxed{15}", r"15\mbox{ cm}^2"),
    (r"\boxed{864 \text{ square inches}}", r"864 \mbox{ inches}^2"),
    (r"\boxed{5.4}", r"5.4 \text{ cents}"),
    (r"\boxed{5.4 cents}", r"5.4 \text{ cents}"),
    (r"\boxed{90}", r"90^\circ"),
    (r"\boxed{90^\circ}", "90"),
    (r"\boxed{90^{\circ}}", r"90^\circ"),
    (r"\boxed{90°}", r"90^\circ"),
    (r"\boxed{90 \text{ degrees}}", r"90^\circ"),
    ("The angle is 90 degrees.", r"90^\circ"),
    (r"The answer is $90^\circ$.", r"90^\circ"),
    (r"\boxed{\frac{270}{7}}", r"\frac{270}7\text{ degrees}"),
    (r"\boxed{\frac{270}{7}^\circ}", r"\frac{270}7\text{ degrees}"),
    (r"\boxed{50\%}", "50"),
    (r"\boxed{50\%}", r"50\%"),
    (r"\boxed{50}", r"50\%"),
    (r"\boxed{50%}", "0.5"),
    (r"\boxed{50\%}", r"\frac{1}{2}"),
    (r"\boxed{0.5}", r"50\%"),
    (r"\boxed{50}\%", "50"),
    ("The answer is 50 percent.", "50"),
    ("It rose by 150%.", "150"),
    # Roots, constants, complex numbers, expressions.
    (r"\boxed{3\sqrt{13}}", r"3\sqrt{13}"),
    (r"\boxed{\sqrt{117}}", r"3\sqrt{13}"),
    (r"\boxed{11\sqrt{2}}", r"11\sqrt2"),
    (r"\boxed{70\sqrt2}", r"70 \sqrt{2}"),
    (r"\boxed{\frac{1}{\sqrt{3}}}", r"\frac{\sqrt{3}}{3}"),
    (r"\boxed{12\pi}", r"12\pi"),
    (r"\boxed{12 \cdot \pi}", r"12\pi"),
    (r"\boxed{18 + 2\pi}", r"18+2\pi"),
    (r"\boxed{12π}", r"12\pi"),
    (r"\boxed{-\dfrac{\pi}{6}}", r"-\frac{\pi}{6}"),
    (r"\boxed{6 - 5i}", "6 - 5i"),
    (r"\boxed{-5i + 6}", "6 - 5i"),
    (r"\boxed{p-q}", "p - q"),
    (r"\boxed{-q + p}", "p - q"),
    (r"\boxed{\cot x}", r"\cot x"),
    (r"\boxed{\cot(x)}", r"\cot x"),
    (r"\boxed{(b+2)(a+5)}", "(a+5)(b+2)"),
    (r"\boxed{x^3 + 3x - 6}", "x^3+3x-6"),
    (r"\boxed{3x + x^3 - 6}", "x^3+3x-6"),
    (r"\boxed{6r^2 - 4r - 24}", "6r^2-4r-24"),
    (r"\boxed{2(3r^2 - 2r - 12)}", "6r^2-4r-24"),
    (r"\boxed{5r^{5}}", "5r^5"),
    (r"\boxed{2k + 2}", "2k+2"),
    (r"\boxed{2(k+1)}", "2k+2"),
    (r"The polynomial is $x^5 - x^4 + x^3 - x^2 + x - 1$.", "x^5 - x^4 + x^3 - x^2 + x - 1"),
    # Equations.
    (r"\boxed{5}", "x=5"),
    (r"\boxed{y = 2x + 3}", "y = 2x + 3"),
    (r"\boxed{2x + 3}", "y = 2x + 3"),
    (r"\boxed{y = -2x}", "y = -2x"),
    (r"\boxed{5x - 7y + 11z + 4 = 0}", "5x - 7y + 11z + 4 = 0"),
    # Tuples, intervals, sets, lists, matrices.
    (r"\boxed{\left(3, \frac{\pi}{2}\right)}", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"\boxed{(3, \frac{\pi}{2})}", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"\boxed{\left( 3, \dfrac{\pi}{2} \right)}", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"\boxed{(6, 31, -1)}", "(6,31,-1)"),
    (r"The answer is $(8, -2)$.", "(8,-2)"),
    (r"\boxed{(1,-16,-4,43)}", "(1,-16,-4,43)"),
    (r"\boxed{3, 5, 7}", "3, 5, 7"),
    (r"\boxed{3, 5, \text{ and } 7}", "3, 5, 7"),
    (r"\boxed{7, 5, 3}", "3, 5, 7"),
    (r"\boxed{3}, \boxed{5}, and \boxed{7}", "3, 5, 7"),
    (r"The solutions are $\boxed{1}$ and $\boxed{-2}$.", "1,-2"),
    (r"\(\boxed{-2}\) or \(\boxed{1}\)", "1,-2"),
    (r"\boxed{-2 \text{ and } 1}", "1,-2"),
    (r"The answer is 1 and -2.", "1,-2"),
    (r"\boxed{1, -2}", "-2,1"),
    (r"\boxed{1 + \sqrt{19}, 1 - \sqrt{19}}", r"1 \pm \sqrt{19}"),
    (r"\boxed{1 \pm \sqrt{19}}", r"1 \pm \sqrt{19}"),
    (r"\boxed{\{1\pm\sqrt{5}, -2\}}", r"\{1\pm\sqrt{5},-2\}"),
    (r"\boxed{(3, 4]}", "(3,4]"),
    (r"\boxed{\left(\frac{3}{5}, \frac{8}{3}\right]}", r"\left(\frac{3}{5},\frac{8}{3}\right]"),
    (r"\boxed{(2, \infty)}", r"(2,\infty)"),
    (r"\boxed{(2, +\infty)}", r"(2,\infty)"),
    (r"\boxed{(2, ∞)}", r"(2,\infty)"),
    (r"\boxed{(-\infty, 2) \cup (3, \infty)}", r"(-\infty, 2) \cup (3, \infty)"),
    (r"\boxed{(0,9)\cup(9,36)}", r"(0,9) \cup (9,36)"),
    (r"\boxed{[-2, 7]}", r"x \in [-2,7]"),
    (r"\boxed{x \in [-2, 7]}", r"[-2,7]"),
    (r"\boxed{-2 \le x \le 7}", r"[-2,7]"),
    (r"\boxed{\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}}", r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}"),
    (r"\boxed{\begin{bmatrix} -2 \\ -14 \\ -7 \end{bmatrix}}", r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}"),
    (
        r"\boxed{\begin{pmatrix} -\frac{1}{3} \\[4pt] \frac{2}{3} \\ \frac{5}{3} \end{pmatrix}}",
        r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
    ),
    (
        "\\boxed{\\begin{pmatrix}\n-1 & 0 \\\\\n0 & -1\n\\end{pmatrix}}",
        r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}",
    ),
    # Words, choices, bases.
    (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}"),
    (r"\boxed{Evelyn}", r"\text{Evelyn}"),
    (r"\boxed{\textbf{Evelyn}}", r"\text{Evelyn}"),
    ("The answer is Evelyn.", r"\text{Evelyn}"),
    ("Therefore, the student with the greatest speed is **Evelyn**.", r"\text{Evelyn}"),
    ("Evelyn", r"\text{Evelyn}"),
    (r"\boxed{\text{East}}", r"\text{east}"),
    ("The final answer is: east", r"\text{east}"),
    (r"\boxed{\text{an ellipse}}", r"\text{ellipse}"),
    (r"\boxed{\text{even}}", r"\text{even}"),
    (r"\boxed{C}", r"\text{(C)}"),
    (r"\boxed{\text{(C)}}", r"\text{(C)}"),
    (r"\boxed{\textbf{(C)}}", r"\text{(C)}"),
    (r"\boxed{\text{(C) Cone}}", r"\text{(C)}"),
    ("The correct answer is option (C).", r"\text{(C)}"),
    (r"\boxed{52_8}", "52_8"),
    (r"\boxed{52_{8}}", "52_8"),
    (r"\boxed{4210_5}", "4210_{5}"),
    (r"\boxed{2516_{8}}", "2516_8"),
]

WRONG = [
    (r"\boxed{19}", "18"),
    (r"\boxed{-18}", "18"),
    (r"\boxed{1.8}", "18"),
    (r"\boxed{180}", "18"),
    (r"\boxed{1,800}", "18"),
    (r"\boxed{18, 19}", "18"),
    (r"First \boxed{18}, but no: \boxed{19}", "18"),
    (r"The answer is 19. It is not 18", "18"),
    ("18 is too small, so the answer is 20.", "18"),
    ("#### 19", "18"),
    (r"\boxed{}", "18"),
    (r"\boxed{\text{eighteen}}", "18"),
    (r"\boxed{18x}", "18"),
    (r"\boxed{x}", "18"),
    (r"\boxed{?}", "18"),
    (r"\boxed{27.5}", "27.0"),
    (r"\boxed{50}", "0.5"),
    (r"\boxed{0.5}", "50"),
    (r"\boxed{0.5\%}", "50"),
    (r"\boxed{\frac{15}{13}}", r"\frac{13}{15}"),
    (r"\boxed{0.87}", r"\frac{13}{15}"),
    (r"\boxed{\frac{14}{5}}", r"1\frac{4}{5}"),
    (r"\boxed{60^\circ}", r"90^\circ"),
    (r"\boxed{3\sqrt{14}}", r"3\sqrt{13}"),
    (r"\boxed{12}", r"12\pi"),
    (r"\boxed{37.7}", r"12\pi"),
    (r"\boxed{6 + 5i}", "6 - 5i"),
    (r"\boxed{q - p}", "p - q"),
    (r"\boxed{\tan x}", r"\cot x"),
    (r"\boxed{x^3 + 3x + 6}", "x^3+3x-6"),
    (r"\boxed{y = 2x - 3}", "y = 2x + 3"),
    (r"\boxed{5x - 7y + 11z - 4 = 0}", "5x - 7y + 11z + 4 = 0"),
    (r"\boxed{(\frac{\pi}{2}, 3)}", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"\boxed{(6,31)}", "(6,31,-1)"),
    (r"\boxed{3, 5}", "3, 5, 7"),
    (r"\boxed{3, 5, 7, 9}", "3, 5, 7"),
    (r"\boxed{1}", "1,-2"),
    (r"\boxed{[3,4]}", "(3,4]"),
    (r"\boxed{(3,4)}", "(3,4]"),
    (r"\boxed{(2, 5)}", r"(2,\infty)"),
    (r"\boxed{(-\infty, 2)}", r"(-\infty, 2) \cup (3, \infty)"),
    (r"\boxed{\begin{pmatrix} -2 \\ -14 \\ 7 \end{pmatrix}}", r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}"),
    (r"\boxed{\begin{pmatrix} -2 \\ -14 \end{pmatrix}}", r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}"),
    (r"\boxed{\text{Angela}}", r"\text{Evelyn}"),
    (r"\boxed{\text{odd}}", r"\text{even}"),
    (r"\boxed{\text{not even}}", r"\text{even}"),
    (r"\boxed{5}", r"\text{Evelyn}"),
    (r"\boxed{\text{(E) Cylinder}}", r"\text{(C)}"),
    (r"\boxed{D}", r"\text{(C)}"),
    (r"\boxed{53_8}", "52_8"),
    ("I could not find it.", "18"),
    ("", "18"),
    ("   \n", "18"),
    (r"\boxed{18", "12"),
]


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(GradingSettings(workers=2, timeout_s=20)) as grader:
        yield grader


@pytest.mark.parametrize(("summary", "gold"), RIGHT)
def test_right_answer_is_accepted(grader: Grader, summary: str, gold: str) -> None:
    grade = grader.grade(summary, gold)
    assert grade.correct is True, grade
    assert grade.predicted


@pytest.mark.parametrize(("summary", "gold"), WRONG)
def test_wrong_answer_is_refused(grader: Grader, summary: str, gold: str) -> None:
    assert grader.grade(summary, gold).correct is False


@pytest.mark.parametrize("gold", ["", "   ", r"\frac{", "?", "x" * 2000])
def test_gold_that_cannot_be_parsed_is_ungradable_not_wrong(grader: Grader, gold: str) -> None:
    assert grader.grade(r"\boxed{5}", gold) == Grade("5", None)


def test_unfinished_response_is_wrong_without_an_answer(grader: Grader) -> None:
    assert grader.grade("", "5") == Grade(None, False)
    assert grader.grade("<think> so it is \\boxed{5}", "5") == Grade(None, False)


@pytest.mark.parametrize(
    ("summary", "expected", "same"),
    [
        (r"It is \boxed{\frac{2}{4}}", "0.5", True),
        ("The answer is 7.", "8", False),
        ("", "8", False),
        ("The answer is 7.", None, False),
        (r"\boxed{\frac{1}{}", r"\frac{1}{", False),
    ],
)
def test_same_answer(grader: Grader, summary: str, expected: str | None, same: bool) -> None:
    assert grader.same_answer(summary, expected) is same


def test_very_small_numbers_are_told_apart(grader: Grader) -> None:
    assert grader.grade(r"\boxed{\frac{1}{2006!}}", r"\frac{1}{2004!}").correct is False
    assert grader.grade(r"\boxed{0.0000668}", ".0000672").correct is False
    assert grader.grade(r"\boxed{6.72e-5}", ".0000672").correct is not None


def test_canonical_forms_are_equal_for_equal_votes() -> None:
    groups = [
        ["1,200", "1200", "$1200", r"\$1,\!200", "1200.0", r"1200 \text{ dollars}", "1200 dollars"],
        [r"\frac{1}{2}", r"\dfrac12", r"\frac12", r"\tfrac{1}{2}"],
        [r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"],
        ["Evelyn", r"\text{evelyn}", "evelyn."],
    ]
    assert [len({canonical(answer) for answer in group}) for group in groups] == [1] * len(groups)
    assert len({canonical(group[0]) for group in groups}) == len(groups)
    assert canonical("1 2") != canonical("12")
