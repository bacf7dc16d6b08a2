"""What the heads of the paid configurations promise, against `drp estimate`."""

import re
from pathlib import Path

import pytest

from drp.config.loading import load_config
from drp.stages import estimate
from tests.conftest import REPOSITORY

CONFIGS = sorted(
    path
    for folder in ("paper", "ablations")
    for path in (REPOSITORY / "configs" / folder).glob("*.yaml")
    if path.stem != "judged-split"  # what it costs is the judge, which an estimate leaves out
)


def read_head(path: Path) -> str:
    lines = [line for line in path.read_text().split("\n\n")[0].splitlines() if line.startswith("#")]
    return " ".join(" ".join(line.strip("# ") for line in lines).split())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_head_names_the_cost_and_the_time_that_an_estimate_gives(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = read_head(path)
    costs, takes, needs = (
        re.findall(rf"{name}: (.*?)(?= [A-Z][a-z]+: |$)", head) for name in ("Costs", "Takes", "Needs")
    )
    prices = {(): re.findall(r"\$(\d+)", costs[0])[0]}
    for price, keys in re.findall(r"\$(\d+) with (both|teacher\.\S+=\w+)", costs[0]):
        both = ("teacher.mode=batch", "teacher.format=spans")
        prices[both if keys == "both" else (keys,)] = price
    for overrides, price in prices.items():
        lines = estimate.run(load_config(path, [f"run_dir={tmp_path}", "reuse=null", *overrides]))
        assert sum(line.usd or 0 for line in lines) == pytest.approx(float(price), rel=0.03), overrides
        asking = re.findall(r"([\d.]+) hours of asking at a rate limit of 450,000", capsys.readouterr().out)
        if not overrides and asking:
            [told] = re.findall(r"(\d+) hours of asking at 450,000", takes[0])
            assert float(told) == pytest.approx(float(asking[0]), abs=0.6)
    hours = sum(line.gpu_hours or 0 for line in lines)
    assert hours == pytest.approx(float(re.findall(r"(\d+) hours of an A100", takes[0])[0]), rel=0.15)
    assert re.search(r"GB of disk|the same as configs/paper/", needs[0])


@pytest.mark.parametrize("size", ["7b", "1.5b"])
def test_the_papers_runs_say_what_the_cheaper_ways_cost(size: str) -> None:
    head = read_head(REPOSITORY / f"configs/paper/r1-distill-qwen-{size}.yaml")
    assert re.search(r"\$\d+ with teacher.mode=batch, \$\d+ with teacher.format=spans, \$\d+ with both", head)


@pytest.mark.parametrize(("format", "most"), [("text", 250), ("spans", 120)])
def test_the_papers_main_run_in_batches_stays_below_its_limit(format: str, most: float, tmp_path: Path) -> None:
    overrides = [f"run_dir={tmp_path}", "teacher.mode=batch", f"teacher.format={format}"]
    lines = estimate.run(load_config(REPOSITORY / "configs/paper/r1-distill-qwen-7b.yaml", overrides))
    assert sum(line.usd or 0 for line in lines) < most
    [train] = [line for line in lines if line.stage == "train"]
    assert train.records == 0.95 * 8000


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_page_of_all_rows_has_the_figures_of_the_head(path: Path) -> None:
    page = (REPOSITORY / "configs/paper/README.md").read_text()
    name = re.escape(str(path.relative_to(REPOSITORY)))
    [(price, hours)] = re.findall(rf"`drp run {name}` \| \$(\d+) \| (\d+) \|", page)
    assert f"Costs: ${price} of" in read_head(path)
    assert f"Takes: {hours} hours of an A100" in read_head(path)
