"""Engines in processes of their own, with the transformers backend, and with real vLLM."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from drp.config.sections import EngineSettings, SamplingSettings, StudentSettings
from drp.errors import ConfigError, InputError, UserError
from drp.student.base import Completion, Rejection, SamplingRequest, find_advice
from drp.student.engines import EngineProcesses, _explain, divide_devices, open_engines
from drp.student.sampler import open_sampler
from drp.student.transformers import TransformersSampler
from tests.conftest import REPOSITORY
from tests.student.conftest import MAX_MODEL_LEN

GREEDY = SamplingSettings(temperature=0, max_new_tokens=30)
BACKENDS = ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)]


def settings(backend: str, n: int = 2, **changes: int) -> EngineSettings:
    return EngineSettings(
        backend=backend, dtype="float32", batch_size=2, max_num_seqs=4, data_parallel_size=n, **changes
    )


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def engines(backend, student):
    engines = open_engines(StudentSettings(model=str(student)), settings(backend), GREEDY, 0)
    yield engines
    engines.close()


def test_two_engines_give_the_responses_of_one(engines, student, requests):
    assert isinstance(engines, EngineProcesses)
    one = open_sampler(str(student), settings("transformers", 1), GREEDY, 0)
    expected = {drawn.id: drawn for drawn in one.sample(iter(requests))}
    one.close()
    for _ in range(2):  # one stream after another
        assert {drawn.id: drawn for drawn in engines.sample(iter(requests))} == expected


def test_both_engines_work_and_take_requests_only_as_they_need_them(engines, requests):
    taken = 0

    def count():
        nonlocal taken
        for number in range(40):
            taken += 1
            yield SamplingRequest(f"{number}", requests[number % len(requests)].prompt_ids)

    limit, busy = 2 * engines._max_in_flight, set()
    for done, _ in enumerate(engines.sample(count())):
        assert taken <= done + limit
        busy |= {engine.number for engine in engines._engines if engine.in_flight}
    assert (taken, busy) == (40, {0, 1})


def test_rejections_come_back_from_the_processes(engines, requests):
    long = SamplingRequest("long", [5] * MAX_MODEL_LEN)
    drawn = {one.id: one for one in engines.sample(iter([long, requests[0]]))}
    assert isinstance(drawn["long"], Rejection)
    assert isinstance(drawn[requests[0].id], Completion)


def test_requests_of_a_killed_engine_go_to_the_other_and_the_last_one_ends_the_run(backend, student, requests, capsys):
    engines = open_engines(StudentSettings(model=str(student)), settings(backend), GREEDY, 0)
    many = [SamplingRequest(f"{n}", requests[n % len(requests)].prompt_ids) for n in range(60)]
    stream = engines.sample(iter(many))
    drawn = [next(stream)]
    killed, survivor = engines._engines
    assert killed.in_flight
    os.kill(killed.process.pid, signal.SIGKILL)
    drawn += stream
    assert sorted(one.id for one in drawn) == sorted(one.id for one in many)
    assert all(isinstance(one, Completion) for one in drawn)
    assert "engine 0 was killed" in capsys.readouterr().err
    os.kill(survivor.process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r"engine 1 was killed.*engine\.data_parallel_size"):
        list(engines.sample(iter(requests)))
    engines.close()


def test_same_seed_gives_the_same_responses_whatever_the_timing(backend, student, requests):
    sampling = SamplingSettings(temperature=1, max_new_tokens=20)
    engines = EngineProcesses(StudentSettings(model=str(student)), settings(backend, 1), sampling, 0)
    first = list(engines.sample(iter(requests)))
    again = []
    for drawn in engines.sample(iter(requests)):
        time.sleep(0.02)  # as if it were graded
        again.append(drawn)
    engines.close()
    assert first == again


def test_one_engine_of_transformers_runs_in_this_process(student):
    sampler = open_engines(StudentSettings(model=str(student)), settings("transformers", 1), GREEDY, 0)
    assert isinstance(sampler, TransformersSampler)
    sampler.close()


def test_what_keeps_an_engine_from_starting_is_the_same_message_as_in_this_process(backend):
    with pytest.raises(InputError, match=r"student\.model: .*/no/such/model"):
        open_engines(StudentSettings(model="/no/such/model"), settings(backend), GREEDY, 0)


def test_leaving_early_ends_the_processes(student, requests):
    engines = open_engines(StudentSettings(model=str(student)), settings("transformers"), GREEDY, 0)
    processes = [psutil.Process(engine.process.pid) for engine in engines._engines]
    stream = engines.sample(iter(requests))
    next(stream)
    stream.close()
    assert not any(process.is_running() for process in processes)
    engines.close()


ENDLESS = """
import itertools, json, sys
from drp.config.sections import EngineSettings, SamplingSettings, StudentSettings
from drp.student.base import SamplingRequest
from drp.student.engines import open_engines

def main():
    engine = EngineSettings(backend=sys.argv[2], data_parallel_size=2, batch_size=2)
    student = StudentSettings(model=sys.argv[1])
    engines = open_engines(student, engine, SamplingSettings(max_new_tokens=50), 0)
    try:
        for drawn in engines.sample(SamplingRequest(str(n), [0, 2, 5 + n % 200, 3]) for n in itertools.count()):
            print(json.dumps({"id": drawn.id, "n_tokens": drawn.n_tokens}), flush=True)
    finally:
        engines.close()

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_survives_the_parent(backend, student, tmp_path, number):
    script, output = tmp_path / "endless.py", tmp_path / "stdout"
    script.write_text(ENDLESS)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with output.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, str(script), str(student), backend], stdout=stdout, env=environment, start_new_session=True
        )
    try:
        while output.stat().st_size < 300 and process.poll() is None:
            time.sleep(0.2)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len([one for one in children if "spawn_main" in " ".join(one.cmdline())]) == 2
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        assert process.wait(timeout=20) == (130 if number == signal.SIGINT else -number)
        assert psutil.wait_procs(children, timeout=10)[1] == []
    finally:
        process.kill()
    assert all(json.loads(line)["n_tokens"] > 0 for line in output.read_text().splitlines())


@pytest.mark.parametrize(
    ("visible", "n", "size", "expected"),
    [
        ("0,1,2,3", 2, 2, ["0,1", "2,3"]),
        ("4,7,5", 3, 1, ["4", "7", "5"]),
        ("GPU-a,GPU-b", 2, 1, ["GPU-a", "GPU-b"]),
    ],
)
def test_each_engine_gets_gpus_of_its_own(monkeypatch, visible, n, size, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in divide_devices(n, size)] == expected


def test_too_few_gpus_are_a_message_with_the_key(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(ConfigError, match=r"engine\.data_parallel_size: 2 engines of 2 GPUs need 4, but there are 3"):
        divide_devices(2, 2)


def test_engines_share_the_cores_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert divide_devices(3, 1) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert divide_devices(1, 1) == [{}]


def test_an_engines_failure_is_one_message_and_an_unknown_one_shows_its_traceback(capsys):
    known = _explain(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert isinstance(known, UserError)
    assert "engine.max_num_seqs" in str(known)
    assert capsys.readouterr().err == ""
    unknown = _explain(KeyError("block 7"))
    assert not isinstance(unknown, UserError)
    assert "KeyError" in str(unknown)
    assert "KeyError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", r"engine\.gpu_memory_utilization"),
        ("Free memory on device (3.1/79.2 GiB) on startup is less than desired GPU memory utilization", "nvidia-smi"),
        ("No available memory for the cache blocks.", r"engine\.max_model_len"),
        ("Total number of attention heads (28) must be divisible by tensor parallel size (8).", "data_parallel_size"),
        ("Engine core initialization failed. See root cause above.", r"engine\.tensor_parallel_size"),
    ],
)
def test_known_failures_of_an_engine_name_the_setting(message, key):
    assert key.replace("\\", "") in (find_advice(RuntimeError(message)) or "")
