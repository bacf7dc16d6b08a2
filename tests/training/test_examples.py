"""Token ids and loss masks of examples; which records are left out, and which are drawn."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drp.config.sections import TrainSettings
from drp.errors import InputError
from drp.records import Failure, Problem
from drp.student.base import Completion, Rejection, SamplingRequest
from drp.student.response import ChatFormat, load_tokenizer
from drp.student.rollouts import Rollout, draw
from drp.training.examples import (
    IGNORED,
    ExampleSelection,
    TrainingRecord,
    encode_example,
    select_examples,
    write_examples,
)
from tests.conftest import REPOSITORY
from tests.tiny import QWEN3, R1_NEWER, R1_OLDER, build_tokenizer, make_record

# Byte-level characters are numbered in their sorted order: "!" is 0, "~" is 93; 256 and up are the added tokens.
LINE_BREAK, SPACE = 198, 220


def as_bytes(text: str) -> list[int]:
    return [{"\n": LINE_BREAK, " ": SPACE}.get(character, ord(character) - ord("!")) for character in text]


R1_BOS, R1_EOS, R1_USER, R1_ASSISTANT, R1_OPEN, R1_CLOSE = range(256, 262)
Q_EOS, Q_START, Q_OPEN, Q_CLOSE = range(257, 261)
ANSWER = [*as_bytes("Hi.\n"), -1, *as_bytes("\n\n2")]


def with_closing(tag: int) -> list[int]:
    return [tag if token == -1 else token for token in ANSWER]


@pytest.mark.parametrize(
    ("template", "prompt", "response"),
    [
        pytest.param(
            R1_NEWER,
            [R1_BOS, R1_USER, *as_bytes("1+1?"), R1_ASSISTANT, R1_OPEN, LINE_BREAK],
            [*with_closing(R1_CLOSE), R1_EOS],
            id="r1-newer-writes-the-opening-tag",
        ),
        pytest.param(
            R1_OLDER,
            [R1_BOS, R1_USER, *as_bytes("1+1?"), R1_ASSISTANT],
            [R1_OPEN, LINE_BREAK, *with_closing(R1_CLOSE), R1_EOS],
            id="r1-older-leaves-it-to-the-model",
        ),
        pytest.param(
            QWEN3,
            [Q_START, *as_bytes("user\n1+1?"), Q_EOS, LINE_BREAK, Q_START, *as_bytes("assistant\n")],
            [Q_OPEN, LINE_BREAK, *with_closing(Q_CLOSE), Q_EOS],
            id="qwen3-has-no-bos",
        ),
    ],
)
@pytest.mark.parametrize("opened", ["", "<think>\n"], ids=["response-without-tag", "response-with-tag"])
def test_ids_and_labels_equal_a_hand_written_example(
    template: str, prompt: list[int], response: list[int], opened: str
) -> None:
    example = encode_example(ChatFormat(build_tokenizer(template)), "a", "1+1?", f"{opened}Hi.\n</think>\n\n2")
    assert example.input_ids == prompt + response
    assert example.labels == [IGNORED] * len(prompt) + response


@pytest.mark.parametrize("template", [R1_OLDER, R1_NEWER, QWEN3], ids=["r1-older", "r1-newer", "qwen3"])
def test_the_thinking_that_a_template_drops_from_assistant_turns_is_trained_on(template: str) -> None:
    tokenizer = build_tokenizer(template)
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "Hi.\n</think>\n\n2"}]
    assert "Hi." not in tokenizer.apply_chat_template(turns, tokenize=False)
    example = encode_example(ChatFormat(tokenizer), "a", "1+1?", "Hi.\n</think>\n\n2")
    assert "Hi.\n</think>\n\n2" in tokenizer.decode([label for label in example.labels if label != IGNORED])


def test_ids_and_labels_of_the_shipped_student_equal_a_hand_written_example() -> None:
    tokenizer = load_tokenizer(str(REPOSITORY / "data/tiny/model"))
    example = encode_example(ChatFormat(tokenizer), "a", "What is 1 + 1?", "1 + 1 = 2.\n</think>\n\nThe answer is 2.")
    bos, eos, user, assistant, opening, closing = 0, 1, 1020, 1021, 1022, 1023
    line_break, space, one, two, plus, equals, full_stop_and_break, is_ = 201, 223, 19, 20, 310, 267, 266, 304
    prompt = [bos, user, 57, 277, is_, space, one, plus, space, one, 33, assistant, opening, line_break]
    thinking = [one, plus, space, one, equals, space, two, full_stop_and_break]
    summary = [closing, line_break, line_break, 278, 338, is_, space, two, 16, eos]
    assert example.input_ids == prompt + thinking + summary
    assert example.labels == [IGNORED] * len(prompt) + thinking + summary


@pytest.mark.parametrize("template", [R1_OLDER, R1_NEWER, QWEN3], ids=["r1-older", "r1-newer", "qwen3"])
def test_the_prompt_is_the_one_that_evaluation_sends_to_the_engine(template: str) -> None:
    class Recorder:
        def sample(self, requests: Iterator[SamplingRequest]) -> Iterator[Completion | Rejection]:
            self.requests = list(requests)
            yield from (Completion(request.id, "2", 1, 1, "stop") for request in self.requests)

        def close(self) -> None: ...

    tokenizer, recorder = build_tokenizer(template), Recorder()
    problem = Problem(id="a", question="1+1?", answer="2", source="hand")
    list(draw(iter([(0, Rollout(id="a#0", problem=problem))]), recorder, ChatFormat(tokenizer)))
    assert recorder.requests[0].prompt_ids == encode_example(ChatFormat(tokenizer), "a", "1+1?", "2").prompt_ids


def test_a_tokenizer_without_end_of_sequence_token_is_refused() -> None:
    tokenizer = build_tokenizer(QWEN3)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="end-of-sequence"):
        encode_example(ChatFormat(tokenizer), "a", "1+1?", "2")


def select(*records: dict[str, Any] | Failure, seed: int = 0, **settings: Any) -> ExampleSelection:
    sources = [record if isinstance(record, Failure) else TrainingRecord.model_validate(record) for record in records]
    defaults = {"validation_split": 0.0, "cutoff_tokens": 200}
    format = ChatFormat(build_tokenizer(R1_NEWER))
    return select_examples(sources, format, TrainSettings.model_validate(defaults | settings), seed)


def ids(selection: ExampleSelection) -> list[str]:
    return [example.id for example in selection.train]


def test_every_record_is_accounted_for() -> None:
    selection = select(
        make_record(0),
        make_record(1, correct=False),
        make_record(2, correct=None),
        make_record(3, pruned_response="word " * 60),
        make_record(4, pruned_response=None),
        make_record(5, pruned_response="so <｜end▁of▁sentence｜> no\n</think>\n\n5"),
        make_record(0),
        Failure(id="pruned.jsonl:8", error="BadRecord", message="not a line of JSON", attempts=1),
    )
    assert ids(selection) == ["p-0#0"]
    counts = selection.counts()
    assert counts.filtered == {
        "incorrect": 1, "could not be graded": 1, "overlong": 1, "end of sequence inside": 1,
    }  # fmt: skip
    assert [failure.error for failure in selection.failures] == ["NoResponse", "DuplicateId", "BadRecord"]
    assert counts.read == 8 == counts.written + sum(counts.filtered.values()) + counts.failed


def test_wrong_answers_are_used_with_only_correct_off() -> None:
    assert len(select(make_record(0, correct=False), make_record(1, correct=None), only_correct=False).train) == 2


def test_an_example_as_long_as_the_cutoff_is_used_and_one_token_more_is_dropped() -> None:
    length = len(select(make_record(0)).train[0])
    assert len(select(make_record(0), cutoff_tokens=length).train) == 1
    assert select(make_record(0), cutoff_tokens=length - 1).filtered == {"overlong": 1}


def test_the_control_trains_on_the_original_response_and_leaves_out_unfinished_ones() -> None:
    cut = make_record(1, finish_reason="length")
    selection = select(make_record(0), cut, response="original")
    assert "Wait, again." in selection.train[0].response
    assert selection.filtered == {"unfinished": 1}
    assert len(select(cut).train) == 1


def test_what_is_drawn_depends_on_the_seed_and_not_on_the_order_of_the_file() -> None:
    records = [make_record(number) for number in range(30)]
    drawn = select(*records, max_samples=10)
    assert drawn.filtered == {"not drawn": 20}
    assert ids(drawn) == ids(select(*reversed(records), max_samples=10))
    assert set(ids(drawn)) != set(ids(select(*records, max_samples=10, seed=1)))
    assert set(ids(select(*records, max_samples=5))) < set(ids(drawn))


def test_no_problem_is_both_in_training_and_in_validation() -> None:
    records = [make_record(number, id=f"p-{number}#{sample}") for number in range(10) for sample in range(3)]
    selection = select(*records, validation_split=0.2)
    parts = [{example.problem_id for example in part} for part in (selection.train, selection.validation)]
    assert not parts[0] & parts[1]
    assert len(selection.validation) == 6
    assert len(selection.train) == 24


def test_a_single_problem_is_trained_on_and_not_held_out() -> None:
    assert len(select(make_record(0), validation_split=0.5).train) == 1


def test_the_file_holds_what_is_trained_on(tmp_path: Path) -> None:
    selection = select(make_record(0), make_record(1), validation_split=0.5)
    write_examples(tmp_path / "sft.jsonl", selection)
    lines = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == ["train", "validation"]
    [example] = selection.train
    assert lines[0]["input_ids"] == example.input_ids
    assert lines[0]["n_prompt_tokens"] + lines[0]["n_response_tokens"] == len(example)
    assert [path.name for path in tmp_path.iterdir()] == ["sft.jsonl"]
