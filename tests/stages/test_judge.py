"""`drp judge` against a loopback judge: both orders, ties, position bias, what is left out, and paying once."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drp.runs.manifest import load_manifest
from tests.conftest import Ended, read_lines
from tests.loopback import LoopbackServer
from tests.stages.judging import ORDERS, count_steps, cut, paragraphs, prefer_fewer, sentences
from tests.teachers.competent import Messages, read_tag

Run = Callable[..., Ended]


@pytest.fixture
def judge(drp: Callable[..., Ended], tmp_path: Path, write_lines: Callable[..., Path]) -> Run:
    """Judge ten pairs, paragraphs against sentences, with the given server."""
    config = tmp_path / "config.yaml"
    config.write_text(f"run_dir: {tmp_path}/fine\nmax_failures: 0\nstudent: {{model: m}}\n")
    write_lines("fine/steps.jsonl", *map(paragraphs, range(10)))
    write_lines("plain/steps.jsonl", *map(sentences, range(10)))

    def run(server: LoopbackServer, *arguments: object, provider: str = "openai") -> Ended:
        url = server.openai_url if provider == "openai" else server.gemini_url
        prices = "prices: {input: 1000, output: 1000}"
        teacher = f"judge.teacher={{provider: {provider}, model: judge-1, base_url: '{url}', {prices}}}"
        return drp("judge", config, tmp_path / "plain", "--set", teacher, *arguments)

    return run


@pytest.fixture
def verdicts(tmp_path: Path) -> Path:
    return tmp_path / "fine" / "judge" / "plain.jsonl"


def read_summary(verdicts: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(verdicts.with_name("plain.summary.json").read_text())
    return found


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_a_preference_that_survives_the_swap_is_a_win(judge: Run, verdicts: Path, provider: str) -> None:
    with LoopbackServer(prefer_fewer) as server:
        ended = judge(server, provider=provider)
    assert ended.status == 0
    assert len(server.requests) == ORDERS * 10
    records = read_lines(verdicts)
    assert [record["winner"] for record in records] == ["a"] * 10
    assert [(verdict["first"], verdict["winner"]) for verdict in records[0]["verdicts"]] == [("a", "a"), ("b", "a")]
    assert {verdict["reason"] for verdict in records[0]["verdicts"]} == {
        "Version A has whole thoughts.",
        "Version B has whole thoughts.",
    }
    assert (records[0]["n_steps_a"], records[0]["n_steps_b"], records[0]["usage"]["calls"]) == (4, 6, ORDERS)
    summary = read_summary(verdicts)
    assert (summary["a"], summary["b"], summary["judge"]) == ("fine", "plain", "judge-1")
    assert (summary["a_wins"], summary["b_wins"], summary["ties"], summary["position_bias"]) == (10, 0, 0, 0)
    # By hand: with all of n won, the exact interval begins at 0.025^(1/n), and p is 2 / 2^n.
    assert summary["win_rate_ci"] == pytest.approx([0.025**0.1, 1])
    assert summary["p"] == pytest.approx(2 / 2**10)
    assert summary["usage"]["cost_usd"] == pytest.approx(sum(record["usage"]["cost_usd"] for record in records))
    assert "fine preferred in 10 of 10 pairs, plain in 0, ties 0; win rate 100.0% (69.2 to 100.0" in ended.out
    assert "read 10 = written 10 + filtered 0 + failed 0" in ended.out
    assert "10 pairs with a winner: a side needs at least 9 wins (90%) to be significant" in ended.err


def test_the_judge_sees_numbered_steps_and_not_where_they_came_from(judge: Run) -> None:
    with LoopbackServer(prefer_fewer) as server:
        judge(server, "--limit", 1)
    prompts = [request.question.messages[0][1] for request in server.requests]
    one, other = ([read_tag(prompt, f"version_{letter}") for letter in "ab"] for prompt in prompts)
    assert one == other[::-1]
    assert one[0] != one[1]
    for prompt in prompts:
        assert "[1] Trace 0. Okay, so I need to find how many apples Ann has.\n[2] First, 3 x 4 = 12" in prompt
        assert not any(word in prompt for word in ("Multiplication", "splitter-7", "fine/", "plain", "skill"))


def test_a_judge_that_goes_by_position_decides_nothing(judge: Run, verdicts: Path) -> None:
    with LoopbackServer(lambda messages: "REASON: it came first.\nVERDICT: A") as server:
        ended = judge(server)
    assert ended.status == 0
    summary = read_summary(verdicts)
    assert (summary["ties"], summary["position_first"], summary["position_bias"]) == (10, 10, 1)
    assert (summary["win_rate"], summary["win_rate_ci"], summary["p"]) == (None, None, 1)
    assert summary["win_rate_with_ties"] == 0.5
    assert "0 pairs with a winner: too few for any result to be significant" in ended.err


def test_a_judge_that_sees_no_difference_has_no_liking_for_a_position(judge: Run, verdicts: Path) -> None:
    with LoopbackServer(lambda messages: "Same") as server:
        assert judge(server).status == 0
    summary = read_summary(verdicts)
    assert (summary["ties"], summary["position_first"], summary["position_second"]) == (10, 0, 0)
    assert {verdict["winner"] for record in read_lines(verdicts) for verdict in record["verdicts"]} == {"tie"}


def test_a_preference_in_one_order_only_is_a_tie(judge: Run, verdicts: Path) -> None:
    def hesitate(messages: Messages) -> str:
        return "A" if count_steps(messages, "version_a") < count_steps(messages, "version_b") else "same"

    with LoopbackServer(hesitate) as server:
        judge(server)
    summary = read_summary(verdicts)
    assert (summary["a_wins"], summary["ties"], summary["position_bias"]) == (0, 10, 0)


def test_a_verdict_that_stays_unreadable_is_a_failure_with_its_reply(judge: Run, verdicts: Path) -> None:
    def answer(messages: Messages) -> str:
        return "Both are nice." if "Trace 3." in messages[0][1] else prefer_fewer(messages)

    with LoopbackServer(answer) as server:
        ended = judge(server)
        assert ended.status == 1
        conversations = [request.question.messages for request in server.requests]
        asked = [messages for messages in conversations if "Trace 3." in messages[0][1]]
        assert Counter(map(len, asked)) == {1: ORDERS, 3: ORDERS, 5: ORDERS}, "each order is asked again twice"
        assert "no line 'VERDICT: A'" in max(asked, key=len)[2][1]
        [failure] = read_lines(verdicts.with_name("plain.failed.jsonl"))
        assert (failure["id"], failure["raw"], failure["attempts"]) == ("p-3#0", "Both are nice.", 3)
        assert read_summary(verdicts)["a_wins"] == 9
        server.answer = prefer_fewer
        paid = len(server.requests)
        # The stored replies of the failed pair would fail again: another judge, another file.
        again = judge(server, "--set", "judge.teacher.temperature=0.5", "--output", verdicts.with_name("again.jsonl"))
    assert again.status == 0
    assert len(server.requests) - paid == ORDERS * 10


def test_a_reply_that_is_put_right_counts(judge: Run, verdicts: Path) -> None:
    with LoopbackServer(lambda messages: "Hm." if len(messages) == 1 else prefer_fewer(messages)) as server:
        assert judge(server).status == 0
    assert read_summary(verdicts)["a_wins"] == 10
    assert {record["usage"]["calls"] for record in read_lines(verdicts)} == {2 * ORDERS}


def test_what_cannot_be_compared_is_counted(judge: Run, verdicts: Path, write_lines: Callable[..., Path]) -> None:
    write_lines(
        "plain/steps.jsonl",
        *map(sentences, [1, 0]),
        paragraphs(2),
        sentences(3, thinking="Another text.", steps=cut("Another text.", ".")),
        "not json\n",
        sentences(1),
        sentences(77),
    )
    with LoopbackServer(prefer_fewer) as server:
        ended = judge(server)
    assert ended.status == 1
    reasons = "missing in a 1, missing in b 6, same steps 1"
    assert f"read 13 = written 2 + filtered 8 ({reasons}) + failed 3" in ended.out
    failures = {failure["id"]: failure for failure in read_lines(verdicts.with_name("plain.failed.jsonl"))}
    assert "p-3#0: the two are not of the same thinking" in failures["p-3#0"]["message"]
    assert failures["p-1#0"]["error"] == "DuplicateId"
    assert "not a line of JSON" in failures["steps.jsonl:5"]["message"]
    assert len(server.requests) == ORDERS * 2


def test_a_smaller_draw_is_part_of_a_larger_one(judge: Run, verdicts: Path) -> None:
    with LoopbackServer(prefer_fewer) as server:
        ended = judge(server, "--set", "judge.pairs=3")
        assert "filtered 7 (not drawn 7)" in ended.out
        first = {record["id"] for record in read_lines(verdicts)}
        assert first != {"p-0#0", "p-1#0", "p-2#0"}
        assert judge(server, "--set", "judge.pairs=6").status == 0
        assert len(server.requests) == ORDERS * 6
    assert first < {record["id"] for record in read_lines(verdicts)}


def test_a_finished_run_asks_nothing_and_a_changed_judge_is_refused(judge: Run) -> None:
    with LoopbackServer(prefer_fewer) as server:
        assert judge(server).status == 0
        assert judge(server).status == 0
        refused = judge(server, "--set", "judge.teacher.model=judge-2")
        assert refused.status == 2
        assert 'judge.model: "judge-1" -> "judge-2"' in refused.err
        assert judge(server, "--overwrite").status == 0
    assert len(server.requests) == ORDERS * 10, "a stored reply was paid for again"


def test_stored_replies_are_read_again_without_asking(judge: Run, verdicts: Path) -> None:
    with LoopbackServer(prefer_fewer) as server:
        assert judge(server).status == 0
        before = sorted(verdicts.read_text().splitlines())
        assert judge(server, "--reparse").status == 0
        assert len(server.requests) == ORDERS * 10
    assert sorted(verdicts.read_text().splitlines()) == before
    manifest = json.loads(verdicts.with_name("plain.jsonl.manifest.json").read_text())
    assert manifest["paid"]["calls"] == ORDERS * 10


def test_each_comparison_counts_what_it_paid_itself(judge: Run, verdicts: Path, tmp_path: Path) -> None:
    with LoopbackServer(prefer_fewer) as server:
        assert judge(server, "--limit", 4).status == 0
        other = tmp_path / "other.jsonl"
        assert judge(server, "--limit", 6, "--output", other).status == 0
    paid = [manifest.paid for path in (verdicts, other) if (manifest := load_manifest(path))]
    assert [usage and usage.calls for usage in paid] == [ORDERS * 4, ORDERS * 2]


def test_a_dry_run_spends_nothing(judge: Run, verdicts: Path) -> None:
    with LoopbackServer(prefer_fewer) as server:
        ended = judge(server, "--dry-run")
    assert "judge would work on 10 records" in ended.out
    assert not server.requests
    assert not verdicts.parent.exists()


def test_the_dollar_cap_holds(judge: Run, verdicts: Path) -> None:
    with LoopbackServer(prefer_fewer) as server:
        ended = judge(server, "--set", "judge.teacher.max_cost_usd=0.01")
    assert ended.status == 2
    assert "judge.teacher.max_cost_usd is 0.01" in ended.err
    assert "raise judge.teacher.max_cost_usd" in ended.err
    assert not server.requests


def test_the_offline_teacher_cannot_judge(drp: Callable[..., Ended], judge: Run, tmp_path: Path) -> None:
    ended = drp("judge", tmp_path / "config.yaml", tmp_path / "plain")
    assert ended.status == 2
    assert "the provider `rules` cannot judge; name a model: judge.teacher: {provider: openai, model: ...}" in ended.err


def test_help_names_both_sides(drp: Callable[..., Ended]) -> None:
    ended = drp("judge", "--help")
    assert ended.status == 0
    assert "CONFIG" in ended.out
    assert "OTHER" in ended.out


def test_the_other_side_has_to_be_there(drp: Callable[..., Ended], judge: Run, tmp_path: Path) -> None:
    model = "judge.teacher={provider: openai, model: judge-1, base_url: 'http://127.0.0.1:9'}"
    for other in ("nowhere", "fine/judge"):
        ended = drp("judge", tmp_path / "config.yaml", tmp_path / other, "--set", model)
        assert ended.status == 2
        assert "is missing" in ended.err


def test_a_decomposition_is_not_judged_against_itself(drp: Callable[..., Ended], judge: Run, tmp_path: Path) -> None:
    model = "judge.teacher={provider: openai, model: judge-1, base_url: 'http://127.0.0.1:9'}"
    ended = drp("judge", tmp_path / "config.yaml", tmp_path / "fine", "--set", model)
    assert ended.status == 2
    assert "is the run's own decomposition" in ended.err


def test_messages_about_the_judges_settings_name_their_place(
    drp: Callable[..., Ended], judge: Run, tmp_path: Path
) -> None:
    def fail(*keys: str) -> str:
        teacher = f"judge.teacher={{provider: openai, {', '.join(keys)}}}"
        ended = drp("judge", tmp_path / "config.yaml", tmp_path / "plain", "--set", teacher)
        assert ended.status == 2
        return ended.err

    assert "judge.teacher.model" in fail()
    assert "judge.teacher.base_url" in fail("model: m", "base_url: localhost")
    assert "set judge.teacher.prices" in fail("model: m", "base_url: 'http://127.0.0.1:9'", "max_cost_usd: 1")


def test_without_a_judge_of_its_own_the_runs_teacher_judges_and_a_remark_says_so(
    drp: Callable[..., Ended], judge: Run, tmp_path: Path, verdicts: Path
) -> None:
    with LoopbackServer(prefer_fewer) as server:
        teacher = f"teacher={{provider: openai, model: splitter-7, base_url: '{server.openai_url}'}}"
        ended = drp("judge", tmp_path / "config.yaml", tmp_path / "plain" / "steps.jsonl", "--set", teacher)
    assert ended.status == 0
    assert "splitter-7 judges its own decompositions; set judge.teacher to another model" in ended.err
    assert read_summary(verdicts)["usage"]["cost_usd"] is None
