"""A random student, built once, and requests for it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drp.student.base import SamplingRequest
from drp.student.response import load_tokenizer, prompt_ids
from tests.tiny import save_student

VLLM_SHAPE = {"hidden_size": 64, "n_heads": 2}
"""Heads of 32, the smallest that vLLM's attention on a CPU supports."""


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), **VLLM_SHAPE)


@pytest.fixture(scope="session")
def tokenizer(student: Path):
    return load_tokenizer(str(student))


@pytest.fixture(scope="session")
def requests(tokenizer) -> list[SamplingRequest]:
    """24 questions of different lengths."""
    questions = [f"How many apples are {n} x {n + 1}?" + " Think." * (n % 5) for n in range(24)]
    return [SamplingRequest(f"q{n}#0", prompt_ids(tokenizer, question)) for n, question in enumerate(questions)]


class Counted:
    """An iterator that knows how far it was read."""

    def __init__(self, requests: list[SamplingRequest]) -> None:
        self._requests = iter(requests)
        self.taken = 0

    def __iter__(self) -> Iterator[SamplingRequest]:
        return self

    def __next__(self) -> SamplingRequest:
        request = next(self._requests)
        self.taken += 1
        return request


@dataclass
class StartingServer:
    """vLLM's own server, perhaps still starting."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path


@pytest.fixture(scope="session")
def starting_server(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartingServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(student),
        "--dtype",
        "float32",
    ]
    command += ["--port", str(port), "--host", "127.0.0.1", "--enforce-eager", "--max-num-seqs", "8"]
    command += ["--kv-cache-memory-bytes", str(1 << 28)]
    log = tmp_path_factory.mktemp("server") / "log"
    # Without a worker process beside the engine's it starts sooner.
    settings = {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **settings})
    yield StartingServer(process, port, log)
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(autouse=True)
def _start_early(request: pytest.FixtureRequest) -> None:
    """The server takes a minute to start: start it before the first test that needs vLLM, if its own tests will run."""
    is_needed = any(item.path.stem == "test_vllm_server" for item in request.session.items)
    if is_needed and request.node.get_closest_marker("vllm"):
        request.getfixturevalue("starting_server")
