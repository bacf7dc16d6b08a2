from drp.config.sections import ReportSettings
from drp.evaluation.outcomes import Outcome
from drp.evaluation.score import score_benchmark
from drp.records import Usage
from drp.report.cost import ModelCost, break_even_table
from drp.report.results import Evaluation
from drp.report.run import ArtifactManifest
from drp.runs.manifest import Manifest


def stage(name: str, seconds: float, usage: Usage | None = None, paid: Usage | None = None) -> ArtifactManifest:
    manifest = Manifest(stage=name, fingerprint={}, inputs={}, seconds=seconds, usage=usage, paid=paid)
    return ArtifactManifest(f"{name}.jsonl", manifest)


COSTS = [
    stage("generate", 3600),
    stage("decompose", 100, Usage(calls=8, cost_usd=4.0), paid=Usage(calls=10, cost_usd=5.0)),
    stage("prune", 100, Usage(calls=8, cost_usd=1.0)),
    stage("train", 1800),
    stage("eval base gsm8k", 9000),
    stage("judge", 50, Usage(calls=100, cost_usd=70.0)),
]


def outcome(n_tokens: int) -> Outcome:
    return Outcome("q#0", "1", True, n_tokens, n_tokens, False, False)


def evaluate(before: int, after: int) -> Evaluation:
    outcomes = {("base", "gsm8k"): [outcome(before)], ("drp", "gsm8k"): [outcome(after)]}
    scores = {key: score_benchmark(found, 12000) for key, found in outcomes.items()}
    return Evaluation(["base", "drp"], ["gsm8k"], 12000, outcomes, scores, {})


def test_cost_counts_what_was_paid_without_the_judge() -> None:
    cost = ModelCost.of(COSTS, ReportSettings())
    assert (cost.usage.cost_usd, cost.usage.calls, cost.gpu_hours, cost.dollars) == (6.0, 18, 1.5, 9.0)


def test_prices_and_gpus_are_settings() -> None:
    prices = ReportSettings(gpus=2, gpu_usd_per_hour=3.0, token_usd_per_million=(1.0, 10.0))
    assert ModelCost.of(COSTS, prices).dollars == 6 + 3 * 3
    table = break_even_table(COSTS, evaluate(1000, 500), prices)
    assert table is not None
    assert [cell.text for cell in table.rows[0].cells] == ["gsm8k", "500 million", "30,000", "3,000"]
    assert "$3 per GPU hour" in table.caption
    assert "3.00 GPU hours (generate and train, on 2 GPUs)" in table.caption


def test_an_unknown_price_has_no_break_even_and_longer_answers_never_pay() -> None:
    unknown = [*COSTS, stage("prune", 1, Usage(calls=1, cost_usd=None))]
    assert ModelCost.of(unknown, ReportSettings()).dollars is None
    for costs, after, text in ((unknown, 500, "–"), (COSTS, 1500, "never")):
        table = break_even_table(costs, evaluate(1000, after), ReportSettings())
        assert table is not None
        assert {cell.text for cell in table.rows[0].cells[2:]} == {text}


def test_without_the_base_there_is_no_break_even_table() -> None:
    both = evaluate(900, 300)
    alone = Evaluation(["drp"], ["gsm8k"], 12000, {}, {("drp", "gsm8k"): both.scores["drp", "gsm8k"]}, {})
    assert break_even_table(COSTS, both, ReportSettings()) is not None
    assert break_even_table(COSTS, alone, ReportSettings()) is None
