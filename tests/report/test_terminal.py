"""`drp view`: the list, one trace, failures, and hostile text."""

from pathlib import Path

import pytest

from drp.errors import InputError
from drp.report.terminal import view


def test_the_list_has_a_line_for_each_trace_and_failure(run_dir: Path) -> None:
    lines = view(run_dir, width=90).splitlines()
    assert len(lines) == 25
    assert lines[0].startswith("gsm8k-train-0#0")
    assert " -> " in lines[0]
    assert "failed in prune" in lines[-1]
    assert max(map(len, lines)) <= 90


def test_a_trace_is_shown_with_steps_skills_actions_and_pruned_text(run_dir: Path) -> None:
    text = view(run_dir, "gsm8k-train-1#0", width=140)
    for part in ("Verification", "delete", "rewrite", "merge", "keep", "Wait, let me check", "Pruned", "\\boxed{"):
        assert part in text


def test_a_failure_shows_its_message_and_the_last_reply(run_dir: Path) -> None:
    text = view(run_dir, "gsm8k-train-900#0", width=140)
    assert "RecordError after 3 attempts: the pruned answer is 12" in text
    assert "Step 1: KEEP" in text


@pytest.mark.parametrize("id", [None, "gsm8k-train-3#0", "gsm8k-train-900#0"])
def test_hostile_text_reaches_no_terminal(run_dir: Path, id: str | None) -> None:
    text = view(run_dir, id, width=200)
    assert not [character for character in text if ord(character) < 32 and character != "\n"]
    assert "\u202e" not in text
    if id is not None:
        assert "[bold]no[/bold]" in text


def test_color_marks_what_was_deleted(run_dir: Path) -> None:
    assert "\x1b[2;9m" in view(run_dir, "gsm8k-train-1#0", width=140, color=True)


def test_a_trace_that_is_not_pruned_yet_is_shown_with_its_steps(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_bytes((run_dir / "steps.jsonl").read_bytes())
    assert "Verification" in view(tmp_path, "gsm8k-train-1#0", width=140)


def test_a_missing_run_or_trace_is_an_input_error(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trace `nobody`"):
        view(run_dir, "nobody")
    with pytest.raises(InputError, match="no traces yet"):
        view(tmp_path)
    with pytest.raises(InputError, match="no such run directory"):
        view(tmp_path / "none")
