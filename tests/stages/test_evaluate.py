"""Stage eval with a random student: all benchmarks of a model in one stream, resumed, with prompts of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from drp.config.sections import Config
from drp.errors import InputError, TooManyFailures
from drp.report.results import policies_table, read_evaluation
from drp.runs.stage import RunOptions
from drp.stages import evaluate
from drp.student import rollouts
from tests.conftest import read_lines
from tests.tiny import save_student


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), max_model_len=128)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each engine was opened with, and the prompts that it was sent."""
    calls: list[dict[str, Any]] = []
    open_engines = rollouts.open_engines

    def listen(student: Any, engine: Any, sampling: Any, seed: int, **options: Any) -> Any:
        sampler = open_engines(student, engine, sampling, seed, **options)
        call: dict[str, Any] = {"seed": seed, "prompts": [], "streams": 0}
        calls.append(call)
        sample = sampler.sample

        def listen_to_requests(requests: Any) -> Any:
            call["streams"] += 1
            taken = list(requests)
            call["prompts"] += [sampler.format.tokenizer.decode(request.prompt_ids) for request in taken]
            return sample(iter(taken))

        monkeypatch.setattr(sampler, "sample", listen_to_requests)
        return sampler

    monkeypatch.setattr(rollouts, "open_engines", listen)
    return calls


@pytest.fixture
def make_config(student: Path, tmp_path: Path) -> Any:
    def make(**changes: Any) -> Config:
        benchmarks = []
        for name, n in (("short", 3), ("other", 5)):
            path = tmp_path / f"{name}.jsonl"
            rows = [{"id": f"p{k}", "question": f"{name} {k}?", "answer": str(k)} for k in range(n)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            benchmarks.append({"name": name, "path": path, "columns": {"id": "id"}})
        settings: dict[str, Any] = {
            "run_dir": tmp_path / "run",
            "student": {"model": str(student)},
            "engine": {"backend": "transformers", "dtype": "float32"},
            "eval": {
                "benchmarks": benchmarks,
                "models": {"base": {"model": str(student)}},
                "sampling": {"n": 2, "temperature": 1, "max_new_tokens": 8},
            },
        }
        for key, value in changes.items():
            settings[key] = settings.get(key, {}) | value
        return Config.model_validate(settings)

    return make


def count_samples(config: Config) -> dict[str, int]:
    return {name: len(read_lines(config.run_dir / f"eval/base/{name}.jsonl")) for name in ("short", "other")}


def test_one_engine_gets_all_benchmarks_in_one_stream(make_config: Any, opened: list[dict[str, Any]]) -> None:
    config = make_config()
    evaluate.run(config)
    assert [(call["streams"], len(call["prompts"])) for call in opened] == [(1, 16)]
    folder = config.run_dir / "eval" / "base"
    for name, n in (("short", 3), ("other", 5)):
        samples = read_lines(folder / f"{name}.jsonl")
        assert sorted(sample["id"] for sample in samples) == sorted(
            f"{name}-p{k}#{j}" for k in range(n) for j in range(2)
        )
        assert all(sample["question"].startswith(name) for sample in samples)
        manifest = json.loads((folder / f"{name}.jsonl.manifest.json").read_text())
        assert (manifest["state"], manifest["counts"]["written"]) == ("complete", 2 * n)
        assert manifest["seconds"] > 0
    evaluate.run(config)
    assert len(opened) == 1, "there was nothing left to do"


def test_benchmarks_with_the_same_ids_keep_apart(make_config: Any) -> None:
    config = make_config()
    evaluate.run(config)
    problems = config.run_dir / "benchmarks" / "short.jsonl"
    evaluate.run(config, RunOptions(input=problems, output=config.run_dir / "again"))
    for name in ("short", "other"):
        samples = read_lines(config.run_dir / "again" / "base" / f"{name}.jsonl")
        assert sorted(sample["id"] for sample in samples) == [f"short-p{k}#{j}" for k in range(3) for j in range(2)]


def test_a_resumed_run_samples_what_is_missing_with_another_seed(make_config: Any, opened: list[Any]) -> None:
    config = make_config()
    evaluate.run(config, RunOptions(limit=2))
    assert count_samples(config) == {"short": 4, "other": 4}
    before = {path: path.read_text() for path in (config.run_dir / "eval" / "base").glob("*[!d].jsonl")}
    evaluate.run(config)
    assert count_samples(config) == {"short": 6, "other": 10}
    assert all(path.read_text().startswith(text) for path, text in before.items())
    first, second = opened
    assert (len(first["prompts"]), len(second["prompts"])) == (8, 8)
    assert first["seed"] == config.seed
    assert second["seed"] != config.seed, "two samples of one problem could be equal"


def test_a_model_may_have_a_prompt_of_its_own(make_config: Any, opened: list[dict[str, Any]], student: Path) -> None:
    raw = {"model": str(student), "chat": False, "prompt": "Q: {question}\nA: <think>"}
    tale = {"model": str(student), "prompt": "{question} Use 50 tokens."}
    models = {"base": {"model": str(student)}, "raw": raw, "tale": tale}
    benchmarks = make_config().model_dump()["eval"]["benchmarks"][:1]
    config = make_config(eval={"models": models, "benchmarks": benchmarks, "sampling": {"max_new_tokens": 4}})
    evaluate.run(config)
    bos = "<｜begin▁of▁sentence｜>"
    assert [call["prompts"][0] for call in opened] == [
        f"{bos}<｜User｜>short 0?<｜Assistant｜><think>\n",
        f"{bos}Q: short 0?\nA: <think>",
        f"{bos}<｜User｜>short 0? Use 50 tokens.<｜Assistant｜><think>\n",
    ]


def test_another_prompt_of_the_student_is_another_evaluation(make_config: Any, student: Path) -> None:
    config = make_config()
    evaluate.run(config)
    manifest = json.loads((config.run_dir / "eval/base/short.jsonl.manifest.json").read_text())
    assert sorted(manifest["fingerprint"]) == ["eval", "model", "seed"]
    assert sorted(manifest["fingerprint"]["model"]) == ["adapter", "model", "revision"]
    changed = make_config(student={"model": str(student), "prompt": "{question} Be brief."})
    with pytest.raises(InputError, match=r"student: null -> .*\{question\} Be brief\."):
        evaluate.run(changed)


def test_too_many_failures_of_one_benchmark_do_not_keep_the_others_from_their_samples(
    make_config: Any, tmp_path: Path
) -> None:
    config = make_config()
    long = {"id": "p0", "question": "long " * 60, "answer": "1"}
    (tmp_path / "short.jsonl").write_text(json.dumps(long) + "\n")
    with pytest.raises(TooManyFailures, match="eval base short: 2 of 2 records failed"):
        evaluate.run(config)
    assert count_samples(config)["other"] == 10
    assert len(read_lines(config.run_dir / "eval/base/short.failed.jsonl")) == 2


def test_a_benchmark_is_complete_when_its_last_response_is_written(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    draw = rollouts.draw

    def break_off(*arguments: Any) -> Any:
        for done, drawn in enumerate(draw(*arguments)):
            if done == 10:
                raise RuntimeError("the engine broke")
            yield drawn

    monkeypatch.setattr(rollouts, "draw", break_off)
    with pytest.raises(RuntimeError, match="the engine broke"):
        evaluate.run(config)
    folder = config.run_dir / "eval" / "base"
    manifests = {name: json.loads((folder / f"{name}.jsonl.manifest.json").read_text()) for name in ("short", "other")}
    assert {name: manifest["state"] for name, manifest in manifests.items()} == {"short": "complete", "other": "failed"}
    assert manifests["short"]["counts"]["written"] == 6
    monkeypatch.setattr(rollouts, "draw", draw)
    evaluate.run(config)
    assert count_samples(config) == {"short": 6, "other": 10}


def test_a_dry_run_says_what_each_benchmark_would_do(make_config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config()
    evaluate.run(config)
    samples = config.run_dir / "eval/base/short.jsonl"
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:2]))
    capsys.readouterr()
    evaluate.run(config, RunOptions(dry_run=True))
    told = capsys.readouterr().out
    assert "eval base short would work on 4 records" in told
    assert "eval base other would work on 0 records" in told


@pytest.mark.slow
def test_two_engines_make_the_records_of_one(make_config: Any) -> None:
    benchmarks = make_config().model_dump()["eval"]["benchmarks"]
    sampling = {"n": 4, "temperature": 0, "max_new_tokens": 30}
    samples = {}
    for n in (1, 2):
        config = make_config(
            engine={"data_parallel_size": n, "batch_size": 2}, eval={"sampling": sampling, "benchmarks": benchmarks}
        )
        evaluate.run(config, RunOptions(output=config.run_dir / str(n)))
        files = [config.run_dir / str(n) / "base" / f"{name}.jsonl" for name in ("short", "other")]
        samples[n] = [sorted(path.read_text().splitlines()) for path in files]
    assert [len(lines) for lines in samples[1]] == [12, 20]
    assert samples[1] == samples[2]


def test_responses_that_stop_at_the_cutoff_have_the_scores_of_both_cutoffs(
    make_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sampling = {"n": 1, "temperature": 0, "max_new_tokens": 40}
    benchmarks = make_config().model_dump()["eval"]["benchmarks"]
    scores = {}
    for stop in (False, True):
        config = make_config(
            eval={"sampling": sampling, "cutoff_tokens": 10, "stop_at_cutoff": stop, "benchmarks": benchmarks},
        )
        evaluate.run(config, RunOptions(output=config.run_dir / str(stop)))
        scores[stop] = json.loads((config.run_dir / str(stop) / "base" / "summary.json").read_text())
    for name in ("short", "other"):
        full, stopped = scores[False][name], scores[True][name]
        assert full["none"]["mean_tokens"] > 11 >= stopped["none"]["mean_tokens"]
        assert stopped["exclude"] == full["exclude"]
        same = set(full["cap"]) - {"looping"}  # which a shorter text may not show
        assert {key: stopped["cap"][key] for key in same} == {key: full["cap"][key] for key in same}
    for stop, n_rows in ((False, 3), (True, 2)):
        evaluation = read_evaluation(config.run_dir / str(stop), ["short", "other"], 10)
        assert evaluation is not None
        assert len(policies_table(evaluation).rows) == n_rows
    assert "policy `none`, without a cutoff, is not measured" in capsys.readouterr().err
