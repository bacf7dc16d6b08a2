"""What an estimate says, beside what a run against the loopback teacher then asks and pays."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from drp.config.loading import load_config
from drp.estimate.table import StageEstimate
from drp.runs.manifest import load_manifest
from drp.runs.progress import write_dollars
from drp.stages import estimate
from drp.teachers.llm.division import estimate_tokens
from tests.conftest import REPOSITORY, Ended, trace
from tests.loopback import LoopbackServer
from tests.teachers import competent

Drp = Callable[..., Ended]


def think(number: int) -> str:
    """As many paragraphs, none like another, of sentences as long as R1's: the lengths of replies go by them."""
    return "\n\n".join(
        f"Okay, so I need to find out how many apples are in the {n} bags of box {number}. Each bag has {number} of "
        f"them.\n\nThe number of bags times the number in each gives the total: {n} * {number} = {n * number} apples. "
        f"Wait, let me double-check that. Adding {number} for each of the {n} bags gives {n * number} too.\n\n"
        f"So box {number} has {n * number} apples, and that is what I was looking for."
        for n in range(1, number + 1)
    )


@pytest.fixture
def config(tmp_path: Path, write_lines: Callable[..., Path]) -> Path:
    traces = [trace(id=f"p-{n}#0", thinking=think(n)) for n in range(1, 7)]
    write_lines("run/traces.jsonl", *traces, trace(id="wrong#0", correct=False))
    path = tmp_path / "config.yaml"
    path.write_text(
        f"run_dir: {tmp_path}/run\nstudent: {{model: {REPOSITORY}/data/tiny/model}}\n"
        "teacher: {provider: openai, model: gpt-4o, prices: {input: 2.5, output: 10}}\n"
    )
    return path


def estimate_stages(config: Path, *overrides: str) -> dict[str, StageEstimate]:
    return {line.stage.split(",")[0]: line for line in estimate.run(load_config(config, overrides))}


def at(server: LoopbackServer, *overrides: str) -> list[str]:
    return [f"teacher.base_url={server.openai_url}", *overrides]


def flags(overrides: list[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def calls_paid(config: Path, name: str) -> int:
    manifest = load_manifest(config.parent / "run" / name)
    assert manifest is not None
    assert manifest.paid is not None
    return manifest.paid.calls


@pytest.mark.parametrize("format", ["text", "spans"])
@pytest.mark.parametrize("limit", [4096, 300])
def test_calls_and_input_are_what_a_run_then_sends(drp: Drp, config: Path, format: str, limit: int) -> None:
    with LoopbackServer(competent.answer) as server:
        overrides = at(server, f"teacher.format={format}", f"teacher.max_output_tokens={limit}")
        before = estimate_stages(config, *overrides)["decompose"]
        assert drp("decompose", config, *flags(overrides)).status == 0
        sent = [request.question.messages[0][1] for request in server.requests]
        assert (before.records, before.calls) == (6, len(sent))
        assert before.input_tokens == sum(map(estimate_tokens, sent))
        pruning = estimate_stages(config, *overrides)["prune"]
        assert drp("prune", config, *flags(overrides)).status == 0
        sent = [request.question.messages[0][1] for request in server.requests[len(sent) :]]
    assert pruning.calls == len(sent) == calls_paid(config, "pruned.jsonl")
    assert pruning.input_tokens == pytest.approx(sum(map(estimate_tokens, sent)), rel=0.1)
    if limit == 300:
        assert pruning.calls > 6, "nothing was divided; the test shows nothing"


@pytest.mark.parametrize(("format", "error"), [("text", 0.15), ("spans", 0.5)])
def test_output_is_about_what_a_run_then_reads(drp: Drp, config: Path, format: str, error: float) -> None:
    replies: list[str] = []

    def answer(messages: list[tuple[str, str]]) -> str:
        replies.append(competent.answer(messages))
        return replies[-1]

    with LoopbackServer(answer) as server:
        overrides = at(server, f"teacher.format={format}")
        before = estimate_stages(config, *overrides)["decompose"]
        assert drp("decompose", config, *flags(overrides)).status == 0
    assert before.output_tokens == pytest.approx(sum(map(estimate_tokens, replies)), rel=error)


def test_what_is_done_or_stored_costs_nothing_again(drp: Drp, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = config.parent / "run"
    with LoopbackServer(competent.answer) as server:
        overrides = at(server, "teacher.format=spans")
        assert drp("decompose", config, *flags(overrides), "--limit", 4).status == 0
        assert estimate_stages(config, *overrides)["decompose"].calls == 2
        for path in (run / "steps.jsonl", run / "steps.jsonl.manifest.json"):
            path.unlink()
        again = estimate_stages(config, *overrides)["decompose"]
        assert (again.records, again.calls) == (6, 2)
        assert "4 more calls find a stored reply" in capsys.readouterr().out
        assert drp("decompose", config, *flags(overrides)).status == 0
        assert drp("prune", config, *flags(overrides)).status == 0
        done = estimate_stages(config, *overrides)
    assert (done["decompose"].calls, done["prune"].calls, done["re-asks"].usd) == (0, 0, 0)
    assert (done["decompose"].records, done["prune"].records, done["re-asks"].records) == (0, 0, None)


def test_what_a_kill_left_of_a_line_is_no_obstacle(drp: Drp, config: Path) -> None:
    run = config.parent / "run"
    with LoopbackServer(competent.answer) as server:
        overrides = at(server)
        assert drp("decompose", config, *flags(overrides), "--limit", 4).status == 0
        for name in ("steps.jsonl", "replies.jsonl"):
            with (run / name).open("a") as file:
                file.write('{"id": "p-5#0", "que')
        assert estimate_stages(config, *overrides)["decompose"].calls == 2


def test_lines_that_are_no_records_end_in_no_traceback(drp: Drp, config: Path) -> None:
    run = config.parent / "run"
    (run / "pruned.jsonl").write_text('{"id": "mine"}\n')
    assert drp("estimate", config).status == 0
    (run / "replies.jsonl").write_text("[1]\n")
    ended = drp("estimate", config)
    assert ended.status == 2
    assert "replies.jsonl:1: not a record" in ended.err


def test_another_format_counts_again(drp: Drp, config: Path) -> None:
    with LoopbackServer(competent.answer) as server:
        assert drp("decompose", config, *flags(at(server, "teacher.format=spans"))).status == 0
        ended = drp("estimate", config, *flags(at(server, "teacher.format=text")))
    assert "steps.jsonl was made with another configuration" in ended.out
    assert 'teacher.format: "spans" -> "text"' in ended.out


def test_an_estimate_leaves_nothing_behind_and_needs_no_key(
    drp: Drp, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    before = sorted(config.parent.rglob("*"))
    ended = drp("estimate", config)
    assert ended.status == 0
    assert sorted(config.parent.rglob("*")) == before
    assert "to decompose 6, answer wrong 1" in ended.out
    assert "gpt-4o: $2.5 a million input tokens, $10 a million output tokens" in ended.out


def test_an_unknown_price_is_said_and_never_free(drp: Drp, config: Path) -> None:
    overrides = ["teacher.prices=null", "teacher.model=nobody-knows"]
    assert estimate_stages(config, *overrides)["decompose"].usd is None
    ended = drp("estimate", config, *flags(overrides))
    assert re.search(r"the price of `nobody-knows` is unknown \(genai-prices .*\); set teacher\.prices", ended.out)
    assert "$" not in ended.out
    assert ended.out.count("unknown") >= 4
    ended = drp("estimate", config, *flags([*overrides, "teacher.max_cost_usd=5"]))
    assert "which a run refuses as long as the price is unknown" in ended.out


def test_the_offline_teacher_is_free(config: Path) -> None:
    lines = estimate_stages(config, "teacher.provider=rules")
    assert [(lines[name].calls, lines[name].usd) for name in ("decompose", "prune", "re-asks")] == [(0, 0)] * 3


def test_reasks_are_allowed_for(config: Path) -> None:
    none, some = (estimate_stages(config, f"estimate.reask_share={share}")["re-asks"] for share in (0, 0.5))
    assert (none.calls, none.usd) == (0, 0)
    assert some.calls == 6
    assert (some.usd or 0) > 0


@pytest.mark.parametrize(("cap", "verdict"), [(100, "the estimate fits"), (0.001, "would stop before its end")])
def test_the_cap_is_held_against_the_estimate(drp: Drp, config: Path, cap: float, verdict: str) -> None:
    assert verdict in drp("estimate", config, "--set", f"teacher.max_cost_usd={cap}").out


def test_without_traces_it_goes_by_the_problems_and_says_so(drp: Drp, config: Path) -> None:
    (config.parent / "run" / "traces.jsonl").unlink()
    assert drp("estimate", config).status == 2
    tiny = f"{{name: tiny, path: {REPOSITORY}/data/tiny/test.jsonl, limit: 30}}"
    overrides = [f"generate.problems=[{{name: gsm8k}}, {tiny}]", "generate.sampling.n=2"]
    lines = estimate_stages(config, *overrides)
    assert lines["generate"].records == 2 * (1319 + 30)
    assert lines["generate"].output_tokens == 2 * (1319 * 917 + 30 * 2486)
    assert lines["decompose"].records == lines["decompose"].calls == round(2 * 1319 * 0.917) + 2 * 30
    ended = drp("estimate", config, *flags(overrides), "--limit", 10)
    assert "no traces yet" in ended.out
    assert "917 (gsm8k)" in ended.out
    assert " 20 " in ended.out


def test_gpu_hours_follow_from_tokens_a_second_or_are_not_given(config: Path) -> None:
    overrides = ["eval.benchmarks=[{name: gsm8k}]", "estimate.tokens_per_response=1000", "report.gpus=4"]
    unknown = estimate_stages(config, *overrides)["eval"]
    assert unknown.gpu_hours is None
    assert any("estimate.sampling_tokens_per_second" in note for note in unknown.notes)
    known = estimate_stages(config, *overrides, "estimate.sampling_tokens_per_second=5000")["eval"]
    assert known.gpu_hours == pytest.approx(2 * 1319 * 1000 / 5000 / 3600 * 4)


def test_tokens_a_second_are_taken_from_this_runs_own_work(config: Path, write_lines: Callable[..., Path]) -> None:
    write_lines("run/train/summary.json", '{"tokens_per_s": 1800.0}')
    line = estimate_stages(config)["train"]
    assert line.input_tokens
    assert line.gpu_hours == pytest.approx(line.input_tokens / 1800 / 3600)


def write_traces(write_lines: Callable[..., Path], source: str, n: int, n_tokens: int, n_wrong: int = 0) -> None:
    numbered = [{"id": f"{source}-{k}#0", "problem_id": f"{source}-{k}", "correct": k >= n_wrong} for k in range(n)]
    write_lines("run/traces.jsonl", *(trace(**ids, source=source, n_tokens=n_tokens) for ids in numbered))


def test_a_sample_of_the_traces_tells_what_all_of_its_source_will_cost(
    config: Path, write_lines: Callable[..., Path]
) -> None:
    write_traces(write_lines, "tiny", 7, n_tokens=100, n_wrong=1)
    lines = estimate_stages(
        config, f"generate.problems=[{{name: tiny, path: {REPOSITORY}/data/tiny/test.jsonl, limit: 70}}]"
    )
    assert lines["generate"].records == 70 - 7
    assert lines["generate"].output_tokens == 63 * 100
    assert lines["decompose"].records == lines["decompose"].calls == 6 + 63 * 6 // 7


def test_a_sample_of_one_source_tells_nothing_about_another(config: Path, write_lines: Callable[..., Path]) -> None:
    (config.parent / "run" / "traces.jsonl").unlink()
    both = ["generate.problems=[{name: gsm8k-train}, {name: prm12k}]", "train.max_samples=null"]
    only_prm = estimate_stages(config, "generate.problems=[{name: prm12k}]", both[1])
    write_traces(write_lines, "gsm8k-train", 50, n_tokens=200)
    lines = estimate_stages(config, *both)
    assert lines["generate"].output_tokens == 7423 * 200 + (only_prm["generate"].output_tokens or 0)
    assert lines["decompose"].records == 7473 + (only_prm["decompose"].records or 0)
    assert (lines["decompose"].output_tokens or 0) > (only_prm["decompose"].output_tokens or 0)


def test_only_what_training_draws_is_estimated_and_then_bought(drp: Drp, config: Path) -> None:
    with LoopbackServer(competent.answer) as server:
        overrides = at(server, "train.max_samples=3")
        before = estimate_stages(config, *overrides)["decompose"]
        assert drp("decompose", config, *flags(overrides)).status == 0
        sent = [request.question.messages[0][1] for request in server.requests]
        assert before.records == 3
        assert before.input_tokens == sum(map(estimate_tokens, sent))
        assert estimate_stages(config, *overrides)["decompose"].records == 0
        assert estimate_stages(config, *overrides)["prune"].records == 3


def test_traces_that_replace_refused_ones_are_paid_for_as_well(config: Path) -> None:
    (config.parent / "run" / "traces.jsonl").unlink()
    overrides = ["generate.problems=[{name: gsm8k-train}, {name: prm12k}]", "train.max_samples=1000"]
    lines = estimate_stages(config, *overrides, "estimate.lost_share=0.2")
    assert lines["decompose"].records == lines["prune"].records == 1250
    assert lines["train"].records == 950
    everything = estimate_stages(config, overrides[0], "train.max_samples=null")["decompose"]
    assert everything.records == round(7473 * 0.917) + round(12000 * 0.924)


def test_students_of_other_sizes_have_other_lengths(config: Path) -> None:
    tokens = [
        estimate_stages(config, f"student.model=R1-Distill-Qwen-{size}", "eval.benchmarks=[{name: gsm8k}]")["eval"]
        for size in ("7B", "1.5B")
    ]
    assert [line.output_tokens for line in tokens] == [1319 * (917 + 328), 1319 * (1443 + 721)]


def test_responses_without_cutoff_are_longer(config: Path) -> None:
    aime = ["eval.benchmarks=[{name: aime24}]", "student.model=R1-Distill-Qwen-7B"]
    capped, uncapped = (
        estimate_stages(config, *aime, f"eval.sampling.max_new_tokens={limit}")["eval"] for limit in (12000, 131072)
    )
    assert capped.output_tokens == 30 * (8674 + 4966)
    assert (uncapped.output_tokens or 0) > 30 * 54339


def test_hours_come_from_published_speeds_before_any_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [
        "student.model=R1-Distill-Qwen-7B",
        "eval.benchmarks=[{name: gsm8k}]",
        "eval.sampling.max_new_tokens=100",
    ]
    a100 = estimate_stages(config, *overrides)
    assert a100["eval"].gpu_hours == pytest.approx((2 * 1319 * 100 / 4000 + 2 * 100 / 48) / 3600)
    assert a100["train"].gpu_hours == pytest.approx((a100["train"].input_tokens or 0) / 2926 / 3600)
    assert any("QwenLM/Qwen" in note for note in a100["train"].notes)
    shown = capsys.readouterr().out
    assert f"{write_dollars(2 * sum(line.gpu_hours or 0 for line in a100.values()))} at $2 an hour" in shown
    h100 = estimate_stages(config, *overrides, "estimate.gpu=h100-80gb")
    assert (h100["eval"].gpu_hours or 0) < (a100["eval"].gpu_hours or 0)


def test_thinking_of_the_teacher_is_paid_as_output(drp: Drp, config: Path) -> None:
    def spend(*overrides: str) -> int:
        return estimate_stages(config, *overrides)["decompose"].output_tokens or 0

    silent, thinking = spend(), spend("teacher.model=gemini-2.5-flash")
    assert thinking == silent + 6 * 1500
    assert spend("teacher.model=gemini-2.5-flash", "estimate.teacher_thinking_tokens=0") == silent
    assert spend("estimate.teacher_thinking_tokens=100") == silent + 600
    assert "1,500 tokens of thinking" in drp("estimate", config, "--set", "teacher.model=o4-mini").out


def test_thinking_is_measured_by_the_stored_replies(config: Path, write_lines: Callable[..., Path]) -> None:
    silent = estimate_stages(config)["decompose"].output_tokens or 0
    text, usage = 10 * "Step 1: and so on. ", {"calls": 1, "input_tokens": 9, "output_tokens": 2000, "cost_usd": 0.1}
    write_lines(
        "run/replies.jsonl",
        *(
            {"id": f"{n:064x}", "provider": "openai", "model": "gpt-4o", "text": text, "finish_reason": "stop"}
            | {"usage": usage, "time": "2026-01-01T00:00:00Z"}
            for n in range(10)
        ),
    )
    assert estimate_stages(config)["decompose"].output_tokens == silent + 6 * (2000 - estimate_tokens(text))


def test_hours_under_a_rate_limit_follow_what_a_request_allows(drp: Drp, config: Path) -> None:
    def hours(*overrides: str) -> float:
        limit = ["teacher.tokens_per_minute=100", *overrides]
        [line] = [line for line in drp("estimate", config, *flags(limit)).out.splitlines() if "of asking" in line]
        return float(line.split()[1])

    assert 1 < hours() < hours("teacher.reply_headroom=null") / 2


def test_batches_cost_half(config: Path) -> None:
    usual, batch = (estimate_stages(config, f"teacher.mode={mode}")["decompose"].usd for mode in ("direct", "batch"))
    assert usual
    assert batch == pytest.approx(usual / 2)


def test_what_another_run_has_made_is_not_estimated_again(drp: Drp, config: Path) -> None:
    tiny = f"[{{name: tiny, path: {REPOSITORY}/data/tiny/test.jsonl, limit: 6}}]"
    with LoopbackServer(competent.answer) as server:
        overrides = at(server, f"generate.problems={tiny}", f"eval.benchmarks={tiny}", "decompose.only_correct=false")
        overrides += [
            "eval.sampling.max_new_tokens=40",
            "generate.sampling.max_new_tokens=150",
            "train.only_correct=false",
        ]
        main = ["run_dir=" + str(config.parent / "main"), *overrides]
        for verb in ("generate", "decompose"):
            assert drp(verb, config, *flags(main)).status == 0
        other = [f"run_dir={config.parent}/other", f"reuse={config.parent}/main", *overrides]
        lines = estimate_stages(config, *other)
        assert (lines["generate"].records, lines["decompose"].records) == (0, 0)
        assert lines["prune"].records
        # Steps of another method are paid for anew; the traces are the same.
        lines = estimate_stages(config, *other, "decompose.method=default")
        assert (lines["generate"].records, lines["decompose"].records) == (0, 6)
        missing = [*other[:1], f"reuse={config.parent}/nowhere", *overrides]
        assert estimate_stages(config, *missing)["generate"].records == 6
        assert "nowhere does not exist yet" in drp("estimate", config, *flags(missing)).out
