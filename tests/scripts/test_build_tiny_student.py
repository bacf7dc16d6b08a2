"""The tiny student's problems, traces, tokenizer and build (`scripts/build_tiny_student.py`, `scripts/tiny`)."""

from __future__ import annotations

import json
import random
import re
import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.build_tiny_student import build, parse
from scripts.tiny.corpus import SETS, draw_sets, write_documents
from scripts.tiny.families import FAMILIES, HARDER_NUMBERS, TRAINED
from scripts.tiny.pretraining import Schedule
from scripts.tiny.problems import BIG, SMALL, Problem, draw
from scripts.tiny.scoring import predicted
from scripts.tiny.traces import write_response
from scripts.tiny.unseen import HARDER_STORIES, UNSEEN

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "tiny"
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
SMALL_BUILD = ["--documents", "150", "--vocabulary", "400", "--hidden", "32", "--mlp", "48", "--layers", "1",
               "--batch-tokens", "1024", "--save-every", "2", "--device", "cpu"]  # fmt: skip


def sample_problems(n: int = 1500) -> list[Problem]:
    trained = draw("test", TRAINED, SMALL, FAMILIES, set())
    stories = draw("test", HARDER_STORIES, SMALL, UNSEEN, set())
    numbers = draw("test", HARDER_NUMBERS, BIG, FAMILIES, set())
    return [*islice(trained, n), *islice(stories, n // 4), *islice(numbers, n // 4)]


def holds(equation: tuple[str, str, str, str]) -> bool:
    a, op, b, result = equation
    return bool(eval(f"{a} {op} {b} == {result}"))  # digits and one operator, by the pattern


def words_to_numbers(text: str) -> set[int]:
    numbers = {int(number) for number in re.findall(r"\d+", text)}
    return numbers | ({2} if "doubles" in text else set()) | ({3} if "triples" in text else set())


def test_every_step_is_true_and_the_last_one_gives_the_answer() -> None:
    for problem in sample_problems():
        equations = [EQUATION.fullmatch(step.equation) for step in problem.steps]
        assert all(match and holds(match.groups()) for match in equations), problem  # type: ignore[arg-type]
        assert problem.steps[-1].result == problem.answer > 0


def test_steps_use_only_the_questions_numbers_and_earlier_results() -> None:
    for problem in sample_problems():
        known = words_to_numbers(problem.question)
        for step in problem.steps:
            assert {step.a, step.b} <= known, problem
            known.add(step.result)


def test_containers_answers_follow_from_the_english() -> None:
    problems = draw("english", [("containers", 3, 1.0), ("containers", 5, 1.0)], SMALL, FAMILIES, set())
    for problem in islice(problems, 300):
        first, *rest = problem.facts
        n, each = map(int, re.findall(r"\d+", first))
        have = n * each
        for fact in rest:
            number = int((re.findall(r"\d+", fact) or ["0"])[0])
            factor = 2 if "doubles" in fact else 3 if "triples" in fact else 1
            have = have * factor + (number if re.search("buys|finds|gets", fact) else -number)
        assert have == problem.answer, problem.question


def test_harder_tells_untrained_stories_or_numbers_above_all_trained_ones() -> None:
    trained = {name for name, *_ in TRAINED}
    assert not {name for name, *_ in HARDER_STORIES} & trained
    assert {(name, n) for name, n, _ in HARDER_NUMBERS} <= {(name, n) for name, n, _ in TRAINED}
    for problem in islice(draw("big", HARDER_NUMBERS, BIG, FAMILIES, set()), 300):
        assert max(map(int, re.findall(r"\d+", problem.facts[0]))) > SMALL.some[1]


def test_a_plan_that_no_problem_fits_is_an_error_and_not_an_endless_search() -> None:
    with pytest.raises(ValueError, match="shopping"):
        next(draw("none", [("shopping", 3, 1.0)], SMALL, FAMILIES, set()))


def test_problem_sets_are_disjoint_from_one_another_and_from_pretraining() -> None:
    files, taken = draw_sets(seed=1)
    questions = [row["question"] for rows in files.values() for row, _ in rows]
    assert len(questions) == len(set(questions)) == sum(part.n for part in SETS)
    assert taken == set(questions)
    assert not taken & {question for question, _ in write_documents(1, 3000, taken)}


def test_equations_in_traces_are_true_unless_taken_back() -> None:
    rng = random.Random(0)
    retracted = 0
    for problem in sample_problems():
        thinking = write_response(rng, problem).split("</think>")[0]
        for match in EQUATION.finditer(thinking):
            if not holds(match.groups()):  # type: ignore[arg-type]
                retracted += 1
                assert thinking[match.end() :].startswith(". Wait, "), thinking
    assert retracted > 10


def test_traces_hold_every_step_and_end_with_the_boxed_answer() -> None:
    rng = random.Random(0)
    for problem in sample_problems(400):
        response = write_response(rng, problem)
        assert all(step.equation in response for step in problem.steps)
        assert response.endswith(f"\n</think>\n\nThe answer is \\boxed{{{problem.answer}}}.")
        assert predicted(response) == str(problem.answer)


def test_traces_range_from_terse_to_very_long() -> None:
    rng = random.Random(0)
    problem = next(draw("one", [("containers", 3, 1.0)], SMALL, FAMILIES, set()))
    lengths = sorted(len(write_response(rng, problem)) for _ in range(400))
    assert lengths[20] * 3 < lengths[-20]


def test_an_unclosed_thinking_gives_no_prediction() -> None:
    assert predicted("The answer is \\boxed{4}.") is None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build(parse(["--output", str(folder), "--again", "0", "--steps", "4", *SMALL_BUILD]))
    return folder


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_short_build_gives_a_model_that_loads_and_generates(built: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built / "model")
    model = AutoModelForCausalLM.from_pretrained(built / "model")
    ids = tokenizer("Mia has 4 boxes.", return_tensors="pt")
    made = model.generate(**ids, max_new_tokens=5, do_sample=False)
    assert made.shape[1] > ids["input_ids"].shape[1]
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    log = [json.loads(line) for line in (built / "build_log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4
    assert {"step", "tokens", "loss", "lr", "tokens_per_s"} <= set(log[-1])


def test_problem_files_have_exactly_the_promised_fields(built: Path) -> None:
    for name in ("train", "dev", "test", "harder_dev", "harder"):
        rows = [json.loads(line) for line in (built / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert all(list(row) == ["id", "question", "answer", "source"] for row in rows)
        assert len({row["id"] for row in rows}) == len(rows)
        assert all(row["answer"].isdigit() for row in rows)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(built: Path, tmp_path: Path) -> None:
    build(parse(["--output", str(tmp_path / "same"), "--again", "0", "--steps", "4", *SMALL_BUILD]))
    build(parse(["--output", str(tmp_path / "other"), "--again", "0", "--steps", "4", "--seed", "2", *SMALL_BUILD]))
    assert weights(tmp_path / "same") == weights(built)
    assert weights(tmp_path / "other") != weights(built)


def test_a_killed_build_goes_on_to_the_same_weights(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.tiny.pretraining import Pretraining

    whole = Pretraining.train_batch

    def die_at_three(self: Pretraining, documents: list[tuple[int, list[int]]]) -> object:
        if self.step == 3:
            raise KeyboardInterrupt
        return whole(self, documents)

    arguments = ["--output", str(tmp_path), "--again", "0", "--steps", "4", *SMALL_BUILD]
    monkeypatch.setattr(Pretraining, "train_batch", die_at_three)
    with pytest.raises(KeyboardInterrupt):
        build(parse(arguments))
    assert (tmp_path / ".work" / "state.pt").exists()
    monkeypatch.setattr(Pretraining, "train_batch", whole)
    build(parse(arguments))
    assert weights(tmp_path) == weights(built)
    assert [json.loads(line)["step"] for line in (tmp_path / "build_log.jsonl").read_text().splitlines()] == [4]


def test_learning_rates_rise_hold_fall_and_once_more() -> None:
    schedule = Schedule(steps=1000, again=500)
    factors = [schedule.factor(step) for step in range(schedule.total)]
    assert factors[100] == factors[499] == max(factors) == 1.0
    assert factors[999] < 0.01
    assert max(factors[1000:]) > 0.4
    assert 0 < factors[-1] < 0.01


def test_a_checkpoint_of_other_options_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work" / "options.json").write_text(json.dumps({"seed": 7}))
    with pytest.raises(SystemExit, match="seed"):
        build(parse(["--output", str(tmp_path), "--again", "0", "--steps", "4", *SMALL_BUILD]))


def folders_with_a_tokenizer(built: Path) -> list[Path]:
    return [built / "model", *([SHIPPED / "model"] if (SHIPPED / "model").exists() else [])]


def test_the_template_behaves_as_r1_distills(built: Path) -> None:
    from transformers import AutoTokenizer

    for folder in folders_with_a_tokenizer(built):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        messages = [{"role": "user", "content": "Hi"}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert prompt == "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n"
        history = [*messages, {"role": "assistant", "content": "<think>\nlong\n</think>\n\nDone."}]
        text = tokenizer.apply_chat_template(history, tokenize=False)
        assert text.endswith("<｜Assistant｜>\n\nDone.<｜end▁of▁sentence｜>")
        assert "long" not in text


def test_bos_is_added_once_by_either_way_and_twice_by_both(built: Path) -> None:
    from transformers import AutoTokenizer

    for folder in folders_with_a_tokenizer(built):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        bos = tokenizer.bos_token_id
        text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
        assert tokenizer("Hi")["input_ids"].count(bos) == 1
        assert tokenizer(text, add_special_tokens=False)["input_ids"].count(bos) == 1
        assert tokenizer(text)["input_ids"].count(bos) == 2


def test_the_tokenizer_round_trips_any_text_and_splits_digits(built: Path) -> None:
    from transformers import AutoTokenizer

    for folder in folders_with_a_tokenizer(built):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for text in ("12 * 345 = 4140, so\n\n  it's \\boxed{4140}.", "Größe ≠ 大小 🙂\t", " leading and trailing "):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids) == text
        assert len(tokenizer) == json.loads((folder / "config.json").read_text())["vocab_size"]
        assert tokenizer.unk_token is None
        pieces = tokenizer.convert_ids_to_tokens(tokenizer("So 2345", add_special_tokens=False)["input_ids"])
        assert pieces[-4:] == ["2", "3", "4", "5"]
        thought = tokenizer("a\n</think>\n\nb", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        assert tokenizer.decode(thought, skip_special_tokens=True) == "a\n</think>\n\nb"


def test_the_shipped_problem_files_are_what_the_seed_draws() -> None:
    if not (SHIPPED / "build_log.jsonl").exists():
        pytest.skip("data/tiny is not built")
    files, _ = draw_sets(seed=1)
    for name, rows in files.items():
        shipped = [json.loads(line) for line in (SHIPPED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert shipped == [row for row, _ in rows]


def test_the_shipped_model_is_small() -> None:
    weights_file = SHIPPED / "model" / "model.safetensors"
    if not weights_file.exists():
        pytest.skip("data/tiny is not built")
    assert weights_file.stat().st_size < 6_000_000
