"""The server backend against a small completions server; test_server_vllm.py has the real one."""

import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import InputError, UserError
from drp.records import Failure
from drp.runs.jsonl import Appender
from drp.student import server as module
from drp.student.base import Completion, Rejection, SamplingRequest
from drp.student.response import ChatFormat
from drp.student.sampler import open_sampler
from tests.student.conftest import Counted

KEY = "sk-not-for-logs"
GREEDY = SamplingSettings(temperature=0, max_new_tokens=30)


class Completions(ThreadingHTTPServer):
    """Streams "ab</think>c" for each prompt, after one error response for each of `statuses`.

    n_parts: how many of the three parts it sends. pause_s: before each of them.
    """

    daemon_threads = True

    def __init__(self, model: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.statuses, self.bodies = model, [], []
        self.in_flight, self.most_in_flight, self.lock = 0, 0, threading.Lock()
        self.n_parts, self.pause_s = 3, 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Completions

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._answer(401, {"error": {"message": f"bad key {self.headers['Authorization']}"}})
        else:
            self._answer(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
            status = self.server.statuses.pop(0) if self.server.statuses else 200
        time.sleep(0.02)
        with self.server.lock:
            self.server.in_flight -= 1
        if status != 200:
            self._answer(status, {"error": {"message": f"no, {self.headers['Authorization']}"}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()  # HTTP/1.0: the response ends with the connection
        parts = [("ab", None), ("</think>", None), ("c", "stop")]
        for text, finish_reason in parts[: self.server.n_parts]:
            time.sleep(self.server.pause_s)
            self._send({"choices": [{"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}]})
        if self.server.n_parts == len(parts):
            self._send({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}})
            self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, part: dict) -> None:
        part = {"id": "x", "object": "text_completion", "created": 0, "model": self.server.model, **part}
        self.wfile.write(f"data: {json.dumps(part)}\n\n".encode())
        self.wfile.flush()

    def _answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After-Ms", "10")
        self.send_header("Location", "http://elsewhere.example/v1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def completions(student, monkeypatch):
    monkeypatch.setenv("STUDENT_KEY", KEY)
    server = Completions(str(student))
    yield server
    server.shutdown()
    server.server_close()


def engine(address: str, **settings) -> EngineSettings:
    return EngineSettings(backend="server", base_url=address, api_key_env="STUDENT_KEY", max_num_seqs=4, **settings)


@pytest.fixture
def sampler(completions, student):
    sampler = open_sampler(str(student), engine(completions.address, max_model_len=200), GREEDY, 0)
    yield sampler
    sampler.close()
    sampler.close()


def test_counts_come_from_usage_and_the_students_tokenizer(sampler, requests):
    assert list(sampler.sample(iter(requests[:1]))) == [Completion(requests[0].id, "ab</think>c", 5, 2, "stop")]


def test_prompts_go_as_token_ids_and_a_bounded_number_at_once(sampler, completions, requests):
    counted = Counted(requests)
    for done, _ in enumerate(sampler.sample(counted), start=1):
        assert counted.taken <= done + 2 * 4
    assert sorted(body["prompt"] for body in completions.bodies) == sorted(one.prompt_ids for one in requests)
    assert 1 < completions.most_in_flight <= 4


def test_transient_errors_are_retried(sampler, completions, requests):
    completions.statuses = [503, 429, 500]
    assert all(isinstance(one, Completion) for one in sampler.sample(iter(requests[:4])))


def test_response_that_takes_longer_than_the_silence_limit_comes_through(completions, student, requests, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_TIMEOUT_S", 0.8)
    completions.pause_s = 0.4
    sampler = open_sampler(str(student), engine(completions.address), GREEDY, 0)
    started = time.monotonic()
    assert [one.text for one in sampler.sample(iter(requests[:1]))] == ["ab</think>c"]
    assert time.monotonic() - started > 1.1
    assert len(completions.bodies) == 1
    sampler.close()


def test_silent_server_and_broken_stream_are_rejections_after_one_request(completions, student, requests, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_TIMEOUT_S", 0.3)
    sampler = open_sampler(str(student), engine(completions.address), GREEDY, 0)
    completions.n_parts = 2
    assert [type(one) for one in sampler.sample(iter(requests[:1]))] == [Rejection]
    assert len(completions.bodies) == 1
    completions.n_parts, completions.pause_s = 3, 0.6
    assert [type(one) for one in sampler.sample(iter(requests[:1]))] == [Rejection]
    sampler.close()


def test_refused_request_is_rejected_and_others_continue(sampler, completions, requests):
    completions.statuses = [400]
    long = SamplingRequest("long", [5] * 200)
    kinds = Counter(type(one) for one in sampler.sample(iter([*requests[:4], long])))
    assert kinds == {Completion: 3, Rejection: 2}


def test_refused_key_is_a_user_error_that_does_not_show_it(completions, student, monkeypatch):
    monkeypatch.setenv("STUDENT_KEY", "sk-wrong-and-secret")
    with pytest.raises(UserError, match="STUDENT_KEY") as caught:
        open_sampler(str(student), engine(completions.address), GREEDY, 0)
    assert "secret" not in str(caught.value)


def test_key_that_a_server_repeats_is_in_no_stored_rejection(sampler, completions, requests, tmp_path):
    completions.statuses = [400]
    [rejection] = sampler.sample(iter(requests[:1]))
    failure = Failure(id=rejection.id, error="Rejection", message=rejection.message, attempts=1)
    with Appender(tmp_path / "failed.jsonl") as file:
        file.append(failure)
    written = (tmp_path / "failed.jsonl").read_text()
    assert "no, Bearer ***" in written
    assert KEY not in written


def test_redirect_is_not_followed_and_its_target_is_named(sampler, completions, requests):
    completions.statuses = [307]
    with pytest.raises(UserError, match=r"redirects to http://elsewhere\.example/v1 \(status 307\)"):
        list(sampler.sample(iter(requests[:1])))
    assert len(completions.bodies) == 1


def test_password_in_the_address_is_sent_and_not_shown(completions, student, monkeypatch):
    monkeypatch.delenv("STUDENT_KEY")
    address = completions.address.replace("://", "://me:hunter2@")
    with pytest.raises(UserError, match="bad key Basic") as caught:  # this server knows no password, and repeats it
        open_sampler(str(student), engine(address), GREEDY, 0)
    assert "hunter2" not in str(caught.value)
    assert "bWU6aHVudGVyMg" not in str(caught.value)


def test_unknown_model_names_the_served_one(completions, student, tokenizer):
    with pytest.raises(InputError, match="it serves") as caught:
        open_sampler("another", engine(completions.address), GREEDY, 0, format=ChatFormat(tokenizer))
    assert str(student) in str(caught.value)


def test_no_server_at_the_address_is_a_user_error(student):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(UserError, match=r"engine\.base_url"):
        open_sampler(str(student), engine(address), GREEDY, 0)
