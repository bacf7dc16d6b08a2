"""The transformers backend, with a random student."""

import pytest

from drp.config.sections import EngineSettings, SamplingSettings
from drp.student.base import Completion, Rejection, SamplingRequest
from drp.student.sampler import open_sampler
from drp.student.transformers import WINDOW_BATCHES
from tests.student.conftest import MAX_MODEL_LEN, Counted

ENGINE = EngineSettings(backend="transformers", dtype="float32", batch_size=4)


@pytest.fixture
def open_student(student):
    opened = []

    def open_one(**sampling):
        opened.append(open_sampler(str(student), ENGINE, SamplingSettings(**sampling), seed=0))
        return opened[-1]

    yield open_one
    for sampler in opened:
        sampler.close()


def test_every_request_is_answered_once(open_student, requests):
    drawn = list(open_student(max_new_tokens=20).sample(iter(requests)))
    assert sorted(one.id for one in drawn) == sorted(one.id for one in requests)
    assert all(isinstance(one, Completion) and one.n_tokens <= 20 for one in drawn)


def test_batching_does_not_change_a_greedy_response(open_student, requests):
    sampler = open_student(temperature=0, max_new_tokens=20)
    together = {one.id: one for one in sampler.sample(iter(requests))}
    alone = [one for request in requests[:6] for one in sampler.sample(iter([request]))]
    assert all(together[one.id] == one for one in alone)


def test_same_seed_gives_the_same_responses(open_student, requests):
    sampler = open_student(temperature=1, max_new_tokens=20)
    assert list(sampler.sample(iter(requests))) == list(sampler.sample(iter(requests)))


def test_end_of_sequence_and_limit_are_told_apart(open_student, requests, tokenizer):
    drawn = list(open_student(temperature=2, top_p=1, max_new_tokens=100).sample(iter(requests)))
    stopped = [one for one in drawn if one.finish_reason == "stop"]
    assert stopped
    assert all(tokenizer.eos_token not in one.text for one in drawn)
    assert all(one.finish_reason == "length" for one in drawn if one.n_tokens == 100 and one not in stopped)


def test_prompt_that_is_too_long_is_rejected_and_others_continue(open_student, requests):
    long = SamplingRequest("long", [5] * MAX_MODEL_LEN)
    tight = SamplingRequest("tight", [5] * (MAX_MODEL_LEN - 3))
    drawn = {one.id: one for one in open_student(max_new_tokens=20).sample(iter([long, tight, requests[0]]))}
    assert isinstance(drawn["long"], Rejection)
    assert drawn["tight"].n_tokens <= 3
    assert drawn[requests[0].id].n_tokens <= 20


def test_requests_are_read_a_window_at_a_time(open_student, requests):
    counted = Counted(requests * 4)
    next(open_student(max_new_tokens=2).sample(counted))
    assert counted.taken == ENGINE.batch_size * WINDOW_BATCHES


def test_model_generation_defaults_do_not_leak_in(open_student):
    config = open_student()._model.generation_config
    assert config.top_k is None
    assert config.repetition_penalty is None
