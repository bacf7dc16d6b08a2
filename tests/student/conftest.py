"""A random student, built once, and requests for it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drp.student.base import SamplingRequest
from drp.student.response import ChatFormat, load_tokenizer
from tests.tiny import save_student

MAX_MODEL_LEN = 256
SHAPE = {"hidden_size": 64, "n_heads": 2, "max_model_len": MAX_MODEL_LEN}
"""Of the student: its heads are of size 32, the smallest that vLLM's attention on a CPU supports."""


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), **SHAPE)


@pytest.fixture(scope="session")
def tokenizer(student: Path):
    return load_tokenizer(str(student))


@pytest.fixture(scope="session")
def requests(tokenizer) -> list[SamplingRequest]:
    """24 questions of different lengths."""
    format = ChatFormat(tokenizer)
    questions = [f"How many apples are {n} x {n + 1}?" + " Think." * (n % 5) for n in range(24)]
    return [SamplingRequest(f"q{n}#0", format.prompt_ids(question)) for n, question in enumerate(questions)]


class Counted:
    """An iterator that counts what was read from it."""

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
    """vLLM's own server, which may still be starting."""

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
    # It starts sooner with the engine in the server's own process.
    settings = {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **settings})
    yield StartingServer(process, port, log)
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture
def address(starting_server: StartingServer) -> str:
    """The address of vLLM's server, once it answers."""
    deadline = time.monotonic() + 180
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", starting_server.port)) == 0:
                return f"http://127.0.0.1:{starting_server.port}/v1"
        running = starting_server.process.poll() is None and time.monotonic() < deadline
        assert running, starting_server.log.read_text()[-3000:]
        time.sleep(0.3)


@pytest.fixture(autouse=True)
def _start_early(request: pytest.FixtureRequest) -> None:
    """Start the server, which takes a minute, before the first test that needs vLLM, if any test needs the server."""
    needed = any("starting_server" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if needed and request.node.get_closest_marker("vllm"):
        request.getfixturevalue("starting_server")
