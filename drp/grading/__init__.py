r"""Grading: does the final answer of a response equal the gold answer?

    with Grader(GradingSettings()) as grader:
        grader.grade("The answer is \boxed{\frac{26}{30}}.", "13/15")     Grade("\frac{26}{30}", True)

grader.py    `Grader`: compares simple answers itself, the others in worker processes
answers.py   find the final answer in a text
forms.py     normalise an answer: `tidy` for a parser, `canonical` for comparing as text
worker.py    compare two answers with math-verify, under a time and a memory limit
warmup.py    imported by the fork server, so that workers start with math-verify loaded
"""

from drp.grading.forms import canonical
from drp.grading.grader import Grade, Grader

__all__ = ["Grade", "Grader", "canonical"]
