r"""Load math-verify and fill sympy's caches once, in the fork server, so that every worker inherits them.

Only the fork server imports this module, before it forks the first worker; importing it does the work. Workers are then
ready at once, including those that replace one over its limits: 17 answers of real traces take 0.3 s of CPU instead
of 0.6 s.
"""

import contextlib
import logging

from drp.grading.worker import compare

PAIRS = (
    ("60%", "0.6"),
    (r"\frac{-20}{2(-4)}", "81"),
    (r"13\sqrt{5}", r"\frac{13}{6}"),
    ("W = R + 2", "4"),
    (r"\frac{9a + 11}{20}", r"\frac{11+9a}{20}"),
    ("5x - 7y + D = 0", "5x - 7y + 4 = 0"),
    (r"3 \pm 2\sqrt{2}, 5^{2}", r"2i + \pi"),
    (r"\cos(x) + \log_2 8", r"(x+1)(x-2) \cdot |y|"),
    (r"(2, \infty) \cup [-1, 0)", r"x \le 2"),
    (r"\{1, 2\}", "1, 2"),
    (r"\begin{pmatrix} -1 & 2 \\ \frac{1}{2} & 4 \end{pmatrix}", "-1"),
)
"""One pair for each kind of answer that math-verify parses differently."""

logging.disable(logging.CRITICAL)
for predicted, gold in PAIRS:
    # Warm-up is best effort and must never crash the fork server.
    with contextlib.suppress(Exception):
        compare(predicted, gold)
