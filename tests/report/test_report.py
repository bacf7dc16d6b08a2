"""The stage `report` on made-up run directories: complete, unfinished, empty, and with hostile text."""

import base64
import gzip
import json
import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from drp.errors import InputError
from drp.records import Pruning
from drp.report.viewer import RECORD, UNIT
from drp.runs.stage import RunOptions
from drp.stages import report
from tests.report.run_fixture import HOSTILE, build_run, make_config, make_pruning, write


class Reader(HTMLParser):
    """The page as a browser parses it: elements with their attributes, and the contents of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def unpack(script: str) -> list[dict]:
    details, texts = (gzip.decompress(base64.b64decode(half)).decode() for half in script.split("."))
    described = [json.loads(detail) for detail in details.split(RECORD)]
    fields = [text.split(UNIT) for text in texts.split(RECORD)]
    return [
        {**detail, **dict(zip(detail["names"], values, strict=True))}
        for detail, values in zip(described, fields, strict=True)
    ]


def test_everything_is_written(html: Path) -> None:
    folder = html.parent
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "lengths.png",
        "captured.png",
        "tradeoff.png",
        "skills.png",
        "loss.png",
    }
    markdown = (folder / "tables.md").read_text()
    titles = re.findall("^## (.*)", markdown, re.MULTILINE)
    assert titles[0] == "Pass@1 and tokens"
    assert {"Effect of the cutoff", "Break-even", "Time and cost", "Teacher actions", "Package versions"} <= set(titles)
    assert (folder / "tables.tex").read_text().count("\\begin{table}") == len(titles)


@pytest.mark.usefixtures("without_figures")
def test_the_main_table_and_the_headline_are_printed(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.run(make_config(run_dir), RunOptions(output=tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("Base", "+DRP"))] == ["Base", "+DRP"]
    assert lines[-1].startswith("report: -")
    assert str(tmp_path / "index.html") in lines[-1]


def test_the_page_refers_to_no_other_file(html: Path) -> None:
    reader = Reader(html.read_text())
    outside = [
        value
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "xlink:href") and not (value or "").startswith("#")
    ]
    assert outside == []
    assert "@import" not in html.read_text()


def test_hostile_text_becomes_no_element(html: Path) -> None:
    text = html.read_text()
    reader = Reader(text)
    scripts = [attributes for tag, attributes in reader.tags if tag == "script"]
    assert [attributes.get("type") for attributes in scripts].count(None) == 1
    assert all(not name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert "img" not in {tag for tag, _ in reader.tags}
    assert not any(character in text for character in "\u2028\u2029\x1b\x00")


def test_the_security_policy_allows_only_the_page_s_own_script(html: Path) -> None:
    reader = Reader(html.read_text())
    [policy] = [
        attributes["content"] for tag, attributes in reader.tags if "http-equiv" in attributes and tag == "meta"
    ]
    import hashlib

    digest = base64.b64encode(hashlib.sha256(reader.scripts[1].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'")


def test_the_traces_in_the_page_are_those_of_the_run(html: Path, run_dir: Path) -> None:
    reader = Reader(html.read_text())
    index = json.loads(reader.scripts[0])
    chunks = [unpack(script) for script in reader.scripts[2:]]
    by_id = {entry["id"]: chunks[entry["chunk"]][entry["place"]] for entry in index["entries"]}
    for line in (run_dir / "pruned.jsonl").read_bytes().splitlines():
        record = Pruning.model_validate_json(line)
        shown = by_id[record.id]
        assert shown["question"] == record.question
        assert shown["thinking"] == record.thinking
        assert [step[0] for step in shown["steps"]] == [len(step.text) for step in record.steps]
        assert [step[1] for step in shown["steps"]] == [step.skill for step in record.steps]
        assert [step[3] for step in shown["steps"]][:4] == [None, record.edits[1].text, record.edits[2].text, None]
        assert shown["pruned"] == record.pruned_thinking
    assert HOSTILE in by_id["gsm8k-train-3#0"]["question"]
    assert {entry["kind"] for entry in index["entries"]} == {"pruned", "failed", "lost", "gained"}


@pytest.mark.usefixtures("without_figures")
def test_unfinished_artifacts_are_named_on_the_page(tmp_path: Path) -> None:
    root = build_run(tmp_path / "run", n_traces=2)
    path = root / "eval/drp/gsm8k.jsonl.manifest.json"
    path.write_text(path.read_text().replace('"complete"', '"interrupted"'))
    text = report.run(make_config(root)).read_text()
    assert "Not finished: eval/drp/gsm8k.jsonl (interrupted)" in text


def test_the_same_run_makes_the_same_page(html: Path, run_dir: Path, tmp_path: Path) -> None:
    again = report.run(make_config(run_dir), RunOptions(output=tmp_path))
    assert again.read_bytes() == html.read_bytes()


@pytest.mark.parametrize(
    ("missing", "headline"),
    [
        ((), r"tokens at .* accuracy on gsm8k"),
        (("eval/drp", "train"), "tokens in 24 pruned traces"),
        (("eval/drp", "pruned.jsonl", "steps.jsonl"), "Only the base model is evaluated so far"),
        (("eval",), "tokens in 24 pruned traces"),
        (("eval", "train", "pruned.jsonl", "pruned.jsonl.manifest.json"), "24 traces decomposed into 176 steps"),
        (("eval", "train", "pruned.jsonl", "steps.jsonl"), "No results yet"),
        (("traces.jsonl", "steps.jsonl", "pruned.jsonl", "train"), "tokens at"),
    ],
)
@pytest.mark.usefixtures("without_figures")
def test_a_half_finished_run_has_a_report(
    run_dir: Path, tmp_path: Path, missing: tuple[str, ...], headline: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("report"))
    for name in missing:
        shutil.rmtree(copy / name) if (copy / name).is_dir() else (copy / name).unlink()
    page = report.run(make_config(copy))
    [found] = re.findall("<h1>(.*?)</h1>", page.read_text())
    assert re.search(headline, found)


@pytest.mark.filterwarnings("error")
def test_unknown_token_counts_are_shown_as_dashes(tmp_path: Path) -> None:
    random_ = random.Random(0)
    unknown = {"n_tokens": None, "n_tokens_pruned": None}
    write(tmp_path / "pruned.jsonl", [make_pruning(n, random_).model_copy(update=unknown) for n in range(3)])
    folder = report.run(make_config(tmp_path)).parent
    assert not (folder / "figures").exists()
    assert "| Verification | 3 | 100% | 0% | – | – |" in (folder / "tables.md").read_text()


@pytest.mark.usefixtures("without_figures")
def test_traces_without_a_single_step_have_a_report(tmp_path: Path) -> None:
    pruning = make_pruning(0, random.Random(0)).model_copy(update={"steps": [], "edits": []})
    write(tmp_path / "run/pruned.jsonl", [pruning])
    report.run(make_config(tmp_path / "run"))
    assert "| keep | 0 | – |" in (tmp_path / "run/report/tables.md").read_text()


@pytest.mark.usefixtures("without_figures")
def test_an_empty_run_directory_has_a_report_too(tmp_path: Path) -> None:
    assert "No results yet" in report.run(make_config(tmp_path)).read_text()


def test_a_missing_run_directory_is_an_input_error(tmp_path: Path, run_dir: Path) -> None:
    with pytest.raises(InputError, match="no such run directory"):
        report.run(make_config(tmp_path / "none"))
    with pytest.raises(InputError, match="no such run directory"):
        report.run(make_config(run_dir), RunOptions(output=tmp_path), [tmp_path / "other"])


def test_a_dry_run_writes_nothing(run_dir: Path, tmp_path: Path) -> None:
    report.run(make_config(run_dir), RunOptions(output=tmp_path / "r", dry_run=True))
    assert not (tmp_path / "r").exists()


def test_names_that_look_like_markup_stay_names(tmp_path: Path) -> None:
    root = build_run(tmp_path / "run", n_traces=2, models=("base", "<i>$x_1$&"))
    page = report.run(make_config(root, report={"title": "<b>title</b>"}))
    assert not {"i", "b"} & {tag for tag, attributes in Reader(page.read_text().split("<h1>")[0]).tags}
    assert "+&lt;i&gt;$x_1$&amp;" in page.read_text()


@pytest.mark.usefixtures("without_figures")
def test_several_samples_per_problem_have_a_table(tmp_path: Path) -> None:
    root = build_run(tmp_path / "run", n_traces=1, n_samples=3)
    folder = report.run(make_config(root)).parent
    markdown = (folder / "tables.md").read_text()
    assert "| Benchmark | Model | Deviation between passes | Pass@1 | Pass@2 | Pass@3 | Maj@3 |" in markdown
