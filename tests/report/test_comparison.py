"""Runs side by side: the paper's ablations, paired tests, seeds, configuration differences."""

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drp.cli import app
from drp.errors import InputError
from drp.runs.manifest import Manifest
from drp.runs.stage import RunOptions
from drp.stages import report
from tests.report.run_fixture import build_run, make_config, write_evaluation

pytestmark = pytest.mark.usefixtures("without_figures")


def read_tables(folder: Path) -> dict[str, list[str]]:
    """The rows of every table, by its title."""
    parts = (folder / "tables.md").read_text().split("\n## ")[1:]
    return {part.splitlines()[0]: [line for line in part.splitlines()[4:] if line.startswith("|")] for part in parts}


def change_manifests(root: Path, **changes: object) -> None:
    for path in root.rglob("*.manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["fingerprint"] |= changes
        path.write_text(json.dumps(manifest))


def test_runs_are_shown_side_by_side_with_their_differences(run_dir: Path, tmp_path: Path) -> None:
    default = build_run(tmp_path / "default", n_traces=3, seed=1)
    change_manifests(default, decompose={"method": "default"})
    gemini = build_run(tmp_path / "gemini", n_traces=3, seed=2)
    change_manifests(gemini, teacher={"provider": "gemini", "model": "gemini-2.0-flash"})
    folder = report.run(make_config(run_dir), RunOptions(output=tmp_path / "report"), [default, gemini]).parent
    markdown = (folder / "tables.md").read_text()
    tables = {part.splitlines()[0]: part for part in markdown.split("\n## ")}
    names = [line.split("|")[1].strip() for line in tables["Runs side by side"].splitlines()[4:10]]
    assert names[1:3] == ["Base", "+DRP"]
    assert [name.split(" · ")[0] for name in names[::3]] == ["**demo", "**default"]
    table2 = tables["Skill-based and default decomposition (the paper's Table 2)"].splitlines()[4:9]
    assert [[cell.strip() for cell in line.split("|")[1:3]] for line in table2] == [
        ["gsm8k", "Base"], ["", "Default"], ["", "DRP (demo)"], ["", "DRP (gemini)"], ["math500", "Base"],
    ]  # fmt: skip
    table3 = tables["Choice of the teacher (the paper's Table 3)"]
    assert "| with gemini-2.0-flash as teacher |" in table3
    assert "| decompose.method | skill | default | skill |" in tables["Configuration differences"]


def test_runs_that_differ_by_their_seed_are_combined(run_dir: Path, tmp_path: Path) -> None:
    others = [build_run(tmp_path / f"seed{seed}", n_traces=2, seed=seed) for seed in (1, 2)]
    for seed, other in enumerate(others, start=1):
        change_manifests(other, seed=seed)
    folder = report.run(make_config(run_dir), RunOptions(output=tmp_path / "report"), others).parent
    markdown = (folder / "tables.md").read_text()
    [row] = [line for line in markdown.splitlines() if line.startswith("| +DRP, 3 runs from demo")]
    assert re.search(r"\| \d\d\.\d% ± \d+\.\d \([\d.–]+\) \| \d+ ± \d+ \(−\d\d%; \d+–\d+\) \|", row)
    pooled = read_tables(folder)["Seeds combined, paired comparison with the base model"]
    assert [line.split("|")[2].strip() for line in pooled] == 3 * ["+DRP, 3 runs from demo"]


def test_trained_models_are_tested_on_the_problems_that_runs_share(run_dir: Path, tmp_path: Path) -> None:
    other = build_run(tmp_path / "other", n_traces=2, seed=5)
    path = other / "eval/drp/aime24.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().split("\n")[:10]))
    folder = report.run(make_config(run_dir), RunOptions(output=tmp_path / "report"), [other]).parent
    rows = read_tables(folder)["Trained models, paired comparison with demo"]
    found = [[cell.strip() for cell in row.split("|")[1:4]] for row in rows]
    assert found == [["gsm8k", "other", "200"], ["math500", "other", "120"], ["aime24", "other", "10"]]
    assert "aime24, 10 problems" in (folder / "tables.md").read_text()


def test_actions_and_costs_are_listed_by_run(run_dir: Path, tmp_path: Path) -> None:
    other = build_run(tmp_path / "other", n_traces=3)
    folder = report.run(make_config(run_dir), RunOptions(output=tmp_path / "report"), [other]).parent
    tables = read_tables(folder)
    assert [row.split("|")[1:4] for row in tables["Teacher actions by run"]] == [
        [" demo ", " gpt-4o ", " 24 "],
        [" other ", " gpt-4o ", " 3 "],
    ]
    # 340 s of generate and 1800 s of train, at 2 dollars an hour, and twice 1.84 for the teacher.
    assert tables["Cost by run"][0].endswith("| \\$3.68 | 39 min 16 s | 0.59 | \\$4.87 |")


def test_runs_in_folders_of_the_same_name_get_different_names(run_dir: Path, tmp_path: Path) -> None:
    other = build_run(tmp_path / "elsewhere" / run_dir.name, n_traces=2)
    folder = report.run(make_config(run_dir), RunOptions(output=tmp_path / "report"), [other]).parent
    assert [row.split("|")[1].strip() for row in read_tables(folder)["Teacher actions by run"]] == [
        f"{run_dir.parent.name}/demo",
        "elsewhere/demo",
    ]


def test_ablations_evaluated_in_one_run_directory_have_the_paper_s_tables(tmp_path: Path) -> None:
    models = ("base", "drp", "default-split", "gemini-teacher", "distill")
    tables = read_tables(report.run(make_config(build_run(tmp_path / "run", 2, models=models))).parent)
    for title, methods in (
        ("Skill-based and default decomposition (the paper's Table 2)", ["Base", "Default", "DRP"]),
        ("Pruned traces and the teacher's own solutions (the paper's Table 4)", ["Base", "Distill", "DRP"]),
    ):
        assert [row.split("|")[2].strip() for row in tables[title]] == 3 * methods
    teachers = [row.split("|")[1].strip() for row in tables["Choice of the teacher (the paper's Table 3)"]]
    assert teachers == ["Base", "with gpt-4o as teacher", "with gemini as teacher"]


def test_runs_with_other_differences_than_the_seed_are_not_combined(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    other = build_run(tmp_path / "other", n_traces=2)
    change_manifests(other, seed=1, teacher={"provider": "openai", "model": "gpt-4o", "prompts": {"prune": "changed"}})
    folder = report.run(make_config(run_dir), RunOptions(output=tmp_path / "report"), [copy, other]).parent
    assert "Seeds combined" not in read_tables(folder)


def save_problems(target: Path, sources: str) -> None:
    Manifest(stage="problems", state="complete", fingerprint={"problems": sources}, inputs={}).save(target)


def build_evaluation(root: Path, seed: int, **models: str) -> Path:
    """A run with an evaluation only."""
    for name, model in models.items():
        write_evaluation(root / "eval" / name, name, 1, random.Random(seed))
        change_manifests(root / "eval" / name, model={"model": model}, seed=seed)
    return root


def test_runs_that_only_evaluate_are_seeds_of_the_same_models(tmp_path: Path) -> None:
    first, *others = (
        build_evaluation(tmp_path / f"run{seed}", seed, base=base, drp="b/pruned", distill=distill)
        for seed, (base, distill) in enumerate([("a/7b", "c/x"), ("a/7b", "c/y"), ("a/32b", "c/x")])
    )
    tables = read_tables(report.run(make_config(first), others=others).parent)
    assert [row.split("|")[1].strip() for row in tables["Seeds combined"]] == [
        "Base, 2 runs from run0",
        "+DRP, 2 runs from run0",
    ]
    assert "| eval.models.base | a/7b | a/7b | a/32b |" in tables["Configuration differences"]
    assert "Cost by run" not in tables


def test_runs_are_combined_across_benchmarks_but_not_across_training_problems(tmp_path: Path) -> None:
    roots = [build_run(tmp_path / f"run{seed}", n_traces=2, seed=seed) for seed in range(3)]
    for seed, root in enumerate(roots):
        change_manifests(root, seed=seed)
        (root / "benchmarks").mkdir()
        save_problems(root / "problems.jsonl", ["prm12k", "prm12k", "gsm8k"][seed])
        save_problems(root / f"benchmarks/b{seed}.jsonl", f"b{seed}")
    tables = read_tables(report.run(make_config(roots[0]), others=roots[1:]).parent)
    assert {row.split("|")[1].strip() for row in tables["Seeds combined"]} == {
        "Base, 2 runs from run0",
        "+DRP, 2 runs from run0",
    }
    assert "| problems | prm12k | prm12k | gsm8k |" in tables["Configuration differences"]


def test_a_run_directory_can_be_given_in_place_of_its_configuration(tmp_path: Path) -> None:
    root = build_run(tmp_path / "old", n_traces=2)
    (root / "effective-config.yaml").write_text(
        "run_dir: somewhere/else\nstudent: {model: a/b-student}\neval: {cutoff_tokens: 500}\n"
    )
    moved = root.rename(tmp_path / "new")
    page = report.run(report.find_config(moved, ["report.title=Mine"]))
    assert page == moved / "report/index.html"
    text = page.read_text()
    assert "<title>Mine" in text
    assert "b-student" in text
    assert "longer than 500 tokens" in text


def test_a_run_directory_without_one_is_shown_with_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build_run(tmp_path / "old", n_traces=2)
    assert "DeepSeek-R1-Distill-Qwen-7B" in report.run(report.find_config(root)).read_text()
    assert "holds no configuration" in capsys.readouterr().err
    for path in root.rglob("*.manifest.json"):
        path.unlink()
    with pytest.raises(InputError, match="give the one that it was made with: drp report CONFIG"):
        report.find_config(root)


def test_run_directories_are_accepted_on_the_command_line(run_dir: Path, tmp_path: Path) -> None:
    other = build_run(tmp_path / "other", n_traces=2)
    done = CliRunner().invoke(app, ["report", str(run_dir), str(other), "--output", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    assert {"Runs side by side", "Configuration differences"} & set(read_tables(tmp_path / "report"))
