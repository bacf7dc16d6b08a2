"""math-verify's own test cases, from its source distribution (tests/grading/cases/NOTICE).

A case with the field `differs`, which explains why our verdict is another, must still get another verdict.
"""

import json

from drp.config.sections import GradingSettings
from drp.grading import Grader
from drp.grading.answers import extract_gold
from tests.conftest import REPOSITORY

CASES = REPOSITORY / "tests" / "grading" / "cases" / "math_verify.jsonl"


def test_verdicts_equal_those_of_math_verifys_cases_except_where_explained() -> None:
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    assert len(cases) == 274
    items = [(number, case["pred"], extract_gold(case["gold"]) or "") for number, case in enumerate(cases)]
    with Grader(GradingSettings(workers=2, timeout_s=20)) as grader:
        verdicts = {number: grade.correct for number, grade in grader.grade_stream(items)}
    wanted = {number: case["expected"] is not ("differs" in case) for number, case in enumerate(cases)}
    assert {cases[n]["pred"]: verdicts[n] for n in wanted if verdicts[n] is not wanted[n]} == {}
    assert sum("differs" in case for case in cases) <= 16
