r"""Grading: is the final answer of a response the gold one?

`Grader` compares by math-verify in worker processes with a time and a memory limit.

    with Grader(GradingSettings()) as grader:
        grader.grade("The answer is \boxed{\frac{26}{30}}.", "13/15")     Grade("\frac{26}{30}", True)

`canonical` is the form in which equal answers are counted as one vote.
"""

from drp.grading.forms import canonical
from drp.grading.grader import Grade, Grader

__all__ = ["Grade", "Grader", "canonical"]
