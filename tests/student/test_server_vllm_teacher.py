"""The teacher's client, and `drp decompose`, against vLLM's own server instead of a server of the tests.

It serves the random student, which is no teacher, so most records fail; the tests check how.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from drp.chat.factory import open_client
from drp.chat.store import ReplyStore
from drp.chat.wire import Message, Reply
from drp.config.sections import Config, TeacherSettings
from drp.errors import RecordError, UserError
from drp.stages import decompose
from tests.conftest import read_lines, trace

pytestmark = pytest.mark.vllm
PROMPTS = {"decompose_skill_text": "Steps of <<thinking>> for <<question>>", "reask": "No: <<problems>>"}


def ask(path: Path, questions: list[str], **settings: Any) -> tuple[list[Reply | BaseException], int]:
    """Replies and errors in order, and how many calls were paid for in all runs."""

    async def run() -> tuple[list[Reply | BaseException], int]:
        store = ReplyStore(path)
        client = open_client(TeacherSettings(provider="openai", **settings), store, environ={})
        try:
            calls = (client.complete([Message("user", question)]) for question in questions)
            replies = await asyncio.gather(*calls, return_exceptions=True)
            assert store.paid
            return replies, store.paid.calls
        finally:
            await client.close()

    return asyncio.run(run())


def test_replies_of_a_real_server_are_read_counted_and_stored(address, student, tokenizer, tmp_path):
    settings = {"base_url": address, "model": str(student), "max_output_tokens": 20}
    questions = [f"How many apples are {n} x 3?" for n in range(12)]
    replies, n_paid = ask(tmp_path / "replies.jsonl", questions, **settings)
    assert n_paid == 12
    for question, reply in zip(questions, replies, strict=True):
        assert isinstance(reply, Reply), reply
        turn = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
        assert reply.usage.input_tokens == len(prompt)
        assert (reply.usage.output_tokens == 20) == (reply.finish_reason == "length")
    assert "length" in {reply.finish_reason for reply in replies}
    again, n_paid = ask(tmp_path / "replies.jsonl", questions, **settings)
    assert (again, n_paid) == (replies, 12)


def test_a_model_that_is_not_served_is_the_users_mistake(address, student, tmp_path):
    [error], _ = ask(tmp_path / "replies.jsonl", ["x"], base_url=address, model="nobody", max_output_tokens=20)
    assert isinstance(error, UserError)
    assert "teacher.model `nobody`" in str(error)


def test_a_prompt_beyond_the_context_fails_and_others_do_not(address, student, tmp_path):
    settings = {"base_url": address, "model": str(student), "max_output_tokens": 20}
    (long, short), _ = ask(tmp_path / "replies.jsonl", ["x 3 y 4 " * 500, "3 x 4?"], **settings)
    assert isinstance(long, RecordError)
    assert "answered 400" in str(long)
    assert isinstance(short, Reply)


def test_decomposing_with_a_student_as_teacher_ends_every_record_with_a_reason(address, student, tmp_path):
    for name, text in PROMPTS.items():
        (tmp_path / "prompts").mkdir(exist_ok=True)
        (tmp_path / "prompts" / f"{name}.txt").write_text(text)
    traces = [trace(id=f"p-{n}#0", thinking=f"3 x {n} = {3 * n}." * (1 + 9 * (n % 3))) for n in range(9)]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(one) + "\n" for one in traces))
    teacher = {"provider": "openai", "model": str(student), "base_url": address, "max_output_tokens": 30}
    teacher |= {"prompts_dir": str(tmp_path / "prompts"), "concurrency": 4}
    config = {"run_dir": str(tmp_path), "max_failures": 99, "student": {"model": str(student)}, "teacher": teacher}
    counts = decompose.run(Config.model_validate(config))
    failures = read_lines(tmp_path / "steps.failed.jsonl")
    assert counts.read == 9 == counts.written + counts.failed
    assert counts.failed == len(failures) > 0
    assert {failure["reason"] for failure in failures} <= {"unreadable reply", "cut off", "request refused"}
    assert "request refused" in {failure["reason"] for failure in failures}
    assert read_lines(tmp_path / "replies.jsonl"), "some were answered"
