"""Real vLLM, on a GPU or a CPU, with a random student."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref

import psutil
import pytest

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import InputError, UserError
from drp.student.base import Completion, Rejection, SamplingRequest
from drp.student.sampler import open_sampler
from drp.student.vllm import FinishedLengths, _forget_compiled_models, check_cache_size
from tests.conftest import REPOSITORY
from tests.student.conftest import MAX_MODEL_LEN, SHAPE, Counted
from tests.tiny import save_student

pytestmark = pytest.mark.vllm

ENGINE = EngineSettings(backend="vllm", dtype="float32", max_num_seqs=4)
WAITING = 1
GREEDY = SamplingSettings(temperature=0, max_new_tokens=30)


@pytest.fixture(scope="module")
def sampler(student):
    sampler = open_sampler(str(student), ENGINE, GREEDY, seed=0)
    yield sampler
    sampler.close()


@pytest.fixture
def drawing(sampler, monkeypatch):
    """The shared engine, with other sampling settings."""

    def change(**settings):
        monkeypatch.setattr(sampler, "_sampling", SamplingSettings(**settings))
        return sampler

    return change


def test_greedy_responses_equal_those_of_transformers(sampler, student, requests):
    other = open_sampler(str(student), EngineSettings(backend="transformers", dtype="float32"), GREEDY, seed=0)
    expected = {one.id: one for one in other.sample(iter(requests))}
    other.close()
    assert {one.id: one for one in sampler.sample(iter(requests))} == expected


def test_requests_are_taken_only_as_slots_become_free(sampler, requests):
    counted = Counted(requests)
    for done, _ in enumerate(sampler.sample(counted)):
        assert counted.taken <= done + ENGINE.max_num_seqs + WAITING + ENGINE.max_num_seqs
    assert counted.taken == len(requests)


def test_leaving_early_empties_the_engine(sampler, requests):
    stream = sampler.sample(Counted(requests))
    next(stream)
    stream.close()
    assert not sampler._engine.has_unfinished_requests()
    assert len(list(sampler.sample(iter(requests)))) == len(requests)


def test_prompt_that_is_too_long_is_rejected_and_others_continue(sampler, requests):
    refused = [
        SamplingRequest("long", [5] * MAX_MODEL_LEN),
        SamplingRequest("empty", []),
        SamplingRequest("foreign", [10**6]),
    ]
    tight = SamplingRequest("tight", [5] * (MAX_MODEL_LEN - 3))
    drawn = {one.id: one for one in sampler.sample(iter([*refused, tight, requests[0]]))}
    assert all(isinstance(drawn[one.id], Rejection) for one in refused)
    assert drawn["tight"].n_tokens <= 3
    assert isinstance(drawn[requests[0].id], Completion)


def test_end_of_sequence_is_counted_and_not_shown(drawing, requests, tokenizer):
    drawn = list(drawing(temperature=2, top_p=1, max_new_tokens=100).sample(iter(requests)))
    stopped = [one for one in drawn if one.finish_reason == "stop"]
    assert stopped
    assert {one.finish_reason for one in drawn} <= {"stop", "length"}
    assert all(tokenizer.eos_token not in one.text for one in drawn)


def test_same_seed_gives_the_same_responses(drawing, requests):
    sampler = drawing(temperature=1, max_new_tokens=20)
    first, again = (list(sampler.sample(iter(requests))) for _ in range(2))
    assert first == again


def test_no_more_requests_are_in_flight_than_the_cache_holds(sampler, requests, monkeypatch):
    assert sampler._cache_tokens > 10**6
    monkeypatch.setattr(sampler, "_cache_tokens", 20)
    monkeypatch.setattr(sampler, "_finished", FinishedLengths())
    counted = Counted(requests)
    for done, _ in enumerate(sampler.sample(counted)):
        assert counted.taken <= done + 2 + 2  # 20 tokens hold 2 responses of 30 / 4 tokens
    assert counted.taken == len(requests)


def test_cache_too_small_for_one_response_is_a_clear_message(student, tmp_path):
    settings = EngineSettings(backend="vllm", max_model_len=10**6)
    with pytest.raises(InputError, match="max_model_len") as caught:
        open_sampler(str(student), settings, GREEDY, seed=0)
    assert "\n" not in str(caught.value)


def test_what_a_request_holds_is_estimated_from_finished_lengths():
    lengths = FinishedLengths()
    assert lengths.estimate_held(16384) == 4096
    assert lengths.estimate_held(400) == 100
    for length in [1000] * 48 + [9000] * 16:
        lengths.add(length)
    # In steady state three quarters of the time in flight belongs to the long ones.
    assert lengths.estimate_held(16384) == pytest.approx(0.25 * 500 + 0.75 * 4500)


def test_closing_leaves_no_compiled_model_in_torchs_hooks():
    import torch._dynamo.convert_frame as convert_frame

    class Compiled:
        __module__ = "vllm.model_executor.models.qwen2"

        def hook(self, old, new): ...

    class Other:
        def hook(self, old, new): ...

    models = [Compiled(), Other()]
    handles = [convert_frame.register_bytecode_hook(model.hook) for model in models]
    gone, kept = map(weakref.ref, models)
    del models
    _forget_compiled_models()
    gc.collect()
    assert gone() is None
    assert kept() is not None
    handles[1].remove()


def test_cache_that_holds_no_whole_response_names_the_setting():
    check_cache_size(4096, own_limit=4096, max_new_tokens=16384, key="engine.cpu_kvcache_gib")
    check_cache_size(20000, own_limit=131072, max_new_tokens=16384, key="engine.cpu_kvcache_gib")
    with pytest.raises(UserError, match=r"engine\.cpu_kvcache_gib"):
        check_cache_size(16384, own_limit=131072, max_new_tokens=16384, key="engine.cpu_kvcache_gib")


@pytest.mark.slow
def test_second_engine_opens_after_the_first_is_closed(sampler, student, requests, tmp_path_factory):
    import torch

    threads = torch.get_num_threads()
    sampler.close()
    sampler.close()
    assert torch.get_num_threads() >= threads
    trained = save_student(tmp_path_factory.mktemp("trained"), seed=1, **SHAPE)
    second = open_sampler(str(trained), ENGINE, GREEDY, seed=0)
    drawn = list(second.sample(iter(requests)))
    second.close()
    assert len(drawn) == len(requests)
    torch.set_num_threads(threads)
    assert torch.get_num_threads() == threads


ENDLESS = """
import itertools, json, sys
from drp.student.base import SamplingRequest
from drp.student.sampler import open_sampler
from drp.config.sections import EngineSettings, SamplingSettings

def main():
    sampler = open_sampler(sys.argv[1], EngineSettings(backend="vllm"), SamplingSettings(max_new_tokens=50), 0)
    try:
        for drawn in sampler.sample(SamplingRequest(str(n), [0, 2, 5 + n % 200, 3]) for n in itertools.count()):
            print(json.dumps({"id": drawn.id, "n_tokens": drawn.n_tokens}), flush=True)
    finally:
        sampler.close()

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.slow
def test_interrupt_ends_in_seconds_with_clean_stdout_and_no_other_process(student, tmp_path):
    script, output = tmp_path / "endless.py", tmp_path / "stdout"
    script.write_text(ENDLESS)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with output.open("w") as stdout:
        process = subprocess.Popen([sys.executable, str(script), str(student)], stdout=stdout, env=environment)
    try:
        while output.stat().st_size < 1000 and process.poll() is None:
            time.sleep(0.2)
        # No child process that would survive a kill -9 of this one.
        assert psutil.Process(process.pid).children(recursive=True) == []
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 130
    finally:
        process.kill()
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(line["n_tokens"] > 0 for line in lines)
