"""Models that mark their thinking in other ways than R1, from imported traces to the evaluation of what was trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from drp.student.response import ChatFormat
from tests.conftest import THINKING, Ended, read_lines
from tests.student.test_families import FAMILIES, build_tokenizer
from tests.tiny import build_model

SUMMARY = "Ann has 3 bags of 4 apples, so the answer is \\boxed{12}."


@pytest.mark.parametrize("name", ["Magistral", "gpt-oss"])
def test_a_model_with_other_tags_goes_through_all_stages(
    drp: Callable[..., Ended], write_lines: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    student, run, config = tmp_path / "student", tmp_path / "run", tmp_path / "config.yaml"
    tokenizer = build_tokenizer(FAMILIES[name])
    tokenizer.pad_token = tokenizer.eos_token
    build_model(tokenizer, max_model_len=2048).save_pretrained(student)
    tokenizer.save_pretrained(student)
    tags = ChatFormat(tokenizer).tags
    response = f"{tags.opening}{THINKING}{tags.closing}{SUMMARY}"
    row = {"question": "Ann has 3 bags of 4 apples. How many apples?", "answer": "12", "response": response}
    source = write_lines("source.jsonl", *({"id": f"p{n}", **row} for n in range(4)))
    benchmark = f"{{name: b, path: {source}, limit: 2}}"
    config.write_text(
        f"run_dir: {run}\nstudent: {{model: {student}}}\nengine: {{backend: transformers, dtype: float32}}\n"
        "train: {validation_split: 0.25, batch_size: 2, gradient_accumulation: 1, epochs: 1}\n"
        f"eval: {{benchmarks: [{benchmark}], sampling: {{max_new_tokens: 8}}}}\n"
    )
    imported = drp("import", source, "--output", run / "traces.jsonl", "--answer", "answer", "--model", student)
    assert imported.status == 0, imported.err
    assert read_lines(run / "traces.jsonl")[0]["response"] == f"<think>{THINKING}</think>{SUMMARY}"
    for verb in ("decompose", "prune", "train", "eval"):
        ended = drp(verb, config)
        assert ended.status == 0, ended.err
    [example, *_] = read_lines(run / "train" / "sft.jsonl")
    assert example["response"].count(tags.opening) == example["response"].count(tags.closing) == 1
    assert "</think>" not in example["response"]
    assert tokenizer.decode(example["input_ids"][-example["n_response_tokens"] :]) == example["response"] + (
        tokenizer.eos_token
    )
    assert json.loads((run / "eval/drp/summary.json").read_text())["b"]["none"]["n"] == 2
