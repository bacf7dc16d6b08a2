"""Names that contain markup, commands or escape sequences, in every output that shows a name."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from drp.report.escaping import escape_latex, escape_markdown, escape_terminal, strip_controls
from drp.report.figures import skills_figure
from drp.report.pruning import PruningSurvey, SkillUse
from drp.stages import report
from tests.report.run_fixture import HOSTILE, build_run, make_config

NAME = "\x1b]0;owned\x07x|<script>alert(1)<!--[a](javascript:b)$y$*_`&%#{}^~\\input{z}"


class Written(NamedTuple):
    """What a report wrote."""

    folder: Path
    stdout: str


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of a run whose model, benchmark, title and student have such a name."""
    root = build_run(tmp_path_factory.mktemp("hostile") / "run", n_traces=2, models=("base", NAME))
    for folder in (root / "eval/base", root / f"eval/{NAME}"):
        for path in folder.glob("gsm8k.jsonl*"):
            path.rename(folder / path.name.replace("gsm8k", NAME))
    config = make_config(root, report={"title": NAME}, student={"model": NAME})
    with redirect_stdout(io.StringIO()) as stdout:
        page = report.run(config)
    return Written(page.parent, stdout.getvalue())


def test_no_name_reaches_the_terminal_as_a_command(hostile_report: Written) -> None:
    assert "\x1b" not in hostile_report.stdout
    assert "x|<script>" in hostile_report.stdout


def test_no_name_breaks_out_of_a_markdown_table(hostile_report: Written) -> None:
    text = (hostile_report.folder / "tables.md").read_text()
    assert "<script>" not in text
    assert "](javascript" not in text.replace("\\]", "")
    assert not set("\x1b\x07") & set(text)
    assert "$y$" not in text.replace("\\$", "")
    for table in text.split("\n## ")[1:]:
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_no_name_is_a_command_in_latex(hostile_report: Written) -> None:
    text = (hostile_report.folder / "tables.tex").read_text()
    assert "\\input" not in text
    assert "\\textbackslash{}input\\{z\\}" in text
    assert not set("\x1b\x07") & set(text)
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[#%]|(?<!\\)\$y", body)
    assert not re.search(r"\\\\\s*[\[*]", body)


def test_no_name_is_an_element_of_the_page(hostile_report: Written) -> None:
    text = (hostile_report.folder / "index.html").read_text()
    assert "<script>alert" not in text
    assert "x|&lt;script&gt;alert(1)&lt;!--" in text
    assert not set("\x1b\x07") & set(text)


def test_markdown_list_and_heading_markers_are_escaped() -> None:
    assert [escape_markdown(text) for text in ("# a", "- a", "1. a", "#Tokens", "+DRP", "-5%")] == [
        "\\# a", "\\- a", "1\\. a", "#Tokens", "+DRP", "-5%",
    ]  # fmt: skip


def test_latex_brackets_at_the_start_of_a_row_are_escaped() -> None:
    assert escape_latex("[1pt] *") == "{[}1pt{]} {*}"


def test_whole_escape_sequences_are_removed() -> None:
    text = "a\x1b[31mred\x1b[0m \x1b]0;title\x07b\x9b31mc\x1b]8;;http://x\x1b\\d\re"
    assert strip_controls(text) == "ared b31mcde"
    assert "\x1b" not in strip_controls(HOSTILE)


def test_escaped_text_is_one_line_without_escape_sequences() -> None:
    for write in (escape_markdown, escape_latex, escape_terminal):
        assert "\n" not in write(f"{HOSTILE}\n\n# a")
        assert "\x1b" not in write(HOSTILE)
    assert strip_controls("\u061cabc\u202e") == "abc"


def test_a_skill_s_name_is_drawn_without_its_escapes(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    survey = PruningSurvey(skills={"Re\x1b[31mading": SkillUse(steps=1, tokens=9.0, saved=3.0)})
    skills_figure(survey).save_png(tmp_path)
    assert [str(warning.message) for warning in recwarn] == []
