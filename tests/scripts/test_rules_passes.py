"""The table of what each pass of the offline teacher gives, on two traces."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from drp.teachers.rules.selection import PASSES
from tests.conftest import REPOSITORY, trace

THINKING = (
    "Okay, so I need to find how many apples there are. Hmm, this one is tricky for me. "
    "There are 3 bags with 4 apples in each.\n\n"
    "First, 3 * 4 = 12.\n\nSo, there are 12 apples.\n\nWait, let me double-check that: 3 * 4 = 12."
)


def test_every_pass_has_a_row_and_an_idle_hedge_costs_tokens(write_lines: Callable[..., Path]) -> None:
    path = write_lines("traces.jsonl", trace(id="p-0#0", thinking=THINKING), trace(id="wrong#0", correct=False))
    command = [sys.executable, "scripts/check/rules_passes.py", path, "--only", "pass "]
    done = subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    title, header, everything, *rows = done.stdout.strip().splitlines()
    assert "1 traces" in title
    assert header.split() == ["thinking", "response", "answers", "accepted", "kept", "founded"]
    assert float(everything.split()[2]) > 0
    assert [row.split()[2] for row in rows] == [each.__name__ for each in PASSES]
    saved = {row.split()[2]: float(row.split()[3]) for row in rows}
    assert saved["find_idle"] < 0
