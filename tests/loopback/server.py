"""An HTTP server on 127.0.0.1 with OpenAI's and Gemini's REST endpoints, in place of a teacher.

It runs in a thread of its own:

    with LoopbackServer(answer=lambda messages: "42", latency_s=0.01) as server:
        ... server.openai_url, server.gemini_url
    server.requests, server.n_completed
"""

import asyncio
import hashlib
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.loopback.batches import Batches, BatchPlan
from tests.loopback.faults import LENGTH, Fault, Pick, script
from tests.loopback.shapes import GeminiShape, OpenAIShape, Question, Shape, count_tokens

Answer = Callable[[list[tuple[str, str]]], str]
"""Takes messages as (role, text) pairs and returns the teacher's text."""


@dataclass
class Request:
    """One request as it arrived. completed: a complete reply was sent, which is what a provider charges for."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    question: Question
    fault: Fault | None
    query: dict[str, str]
    arrived: float
    """time.monotonic() at the arrival."""
    completed: bool = False


class LoopbackServer:
    """answer: the teacher's text for a request. latency_s: how long it takes. faults: in order of arrival, or a Pick.

    headers: sent with every answer, for example x-ratelimit-*; a callable is called for each. record: keep `requests`.
    count: tokens of a text; an answer of more than the request's max_tokens is cut there, with finish_reason `length`.
    plans: what happens to batches (tests.loopback.batches).
    """

    def __init__(
        self,
        answer: Answer = lambda messages: "ok",
        *,
        latency_s: float = 0.0,
        faults: Iterable[Fault | None] | Pick = (),
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        record: bool = True,
        count: Callable[[str], int] = count_tokens,
        port: int = 0,
        plans: Iterable[BatchPlan] = (),
    ) -> None:
        self.answer, self.latency_s, self.port = answer, latency_s, port
        self.pick = faults if callable(faults) else script(*faults)
        self.requests: list[Request] = []
        self.n_completed = 0
        self.n_in_flight = self.n_hanging = 0
        self.max_in_flight = 0
        self.batches = Batches(self, plans)
        self._headers, self._record, self._count = headers, record, count
        self._seen: Counter[str] = Counter()
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="loopback", daemon=True)

    @property
    def openai_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def gemini_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self.ready.wait(10):
            raise RuntimeError("the loopback server did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._loop
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self.serve())

    async def serve(self) -> None:
        """Serve until stopped."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/chat/completions", lambda request: self._reply(request, OpenAIShape()))
        self.batches.add_routes(app.router)
        app.router.add_post("/v1beta/{model:.*}", lambda request: self._reply(request, GeminiShape()))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=4096)
        await site.start()
        self.port = runner.addresses[0][1]
        self.ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _reply(self, http: web.Request, shape: Shape) -> web.StreamResponse:
        raw = await http.read()
        body = json.loads(raw)
        question = shape.read(http.path, body)
        fault = self.draw(question)
        request = Request(http.path, dict(http.headers), body, question, fault, dict(http.query), time.monotonic())
        if self._record:
            self.requests.append(request)
        self.n_in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.n_in_flight)
        try:
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            return await self._finish(http, shape, request)
        finally:
            self.n_in_flight -= 1

    def draw(self, question: Question) -> Fault | None:
        """The fault of a request, or None."""
        content = hashlib.sha256(repr(question.messages).encode()).hexdigest()
        self._seen[content] += 1
        return self.pick(content, self._seen[content] - 1)

    def write(self, question: Question, fault: Fault | None) -> tuple[str, Fault | None]:
        """The teacher's text, cut at the request's output limit, which is the fault LENGTH."""
        text = "" if fault and fault.kind == "empty" else self.answer(question.messages)
        n_tokens, limit = self._count(text), question.max_tokens
        if limit and n_tokens > limit:
            return text[: len(text) * limit // n_tokens], fault or LENGTH
        return text, fault

    async def _finish(self, http: web.Request, shape: Shape, request: Request) -> web.StreamResponse:
        fault = request.fault
        if fault and fault.kind in ("status", "hang", "reset"):
            return await self.fail(http, fault, shape)
        if fault and fault.kind in _BODIES:
            return await _BODIES[fault.kind](http, shape, fault)
        text, fault = self.write(request.question, fault)
        request.fault = fault
        if fault and fault.echo_key:
            text = f"{text} {_read_key(http)}"
        data = json.dumps(shape.answer(request.question, text, fault)).encode()
        if fault and fault.kind == "cut":
            data = data[: len(data) // 2]
        else:
            request.completed = True
            self.n_completed += 1
        headers = self._headers() if callable(self._headers) else self._headers
        return web.Response(body=data, content_type="application/json", headers=headers)

    async def fail(self, http: web.Request, fault: Fault, shape: Shape = OpenAIShape()) -> web.StreamResponse:
        """Answer with an error status or a body that is no reply, or close the connection: at once, or for a hang when
        the server stops."""
        if fault.kind == "status":
            return _refuse(shape, fault, http)
        if fault.kind in _BODIES:
            return await _BODIES[fault.kind](http, shape, fault)
        if fault.kind == "hang":
            self.n_hanging += 1
            await self._stop.wait()
        if http.transport:
            http.transport.abort()
        return web.Response()


def _refuse(shape: Shape, fault: Fault, http: web.Request) -> web.Response:
    message = f"loopback says {fault.code}" + (f" for the key {_read_key(http)}" if fault.echo_key else "")
    headers = {"Retry-After": fault.retry_after, "retry-after-ms": fault.retry_after_ms, "Location": fault.location}
    return web.json_response(
        shape.error(fault, message),
        status=fault.status,
        headers={name: value for name, value in headers.items() if value is not None},
    )


def _read_key(http: web.Request) -> str:
    return (http.headers.get("Authorization", "") + http.headers.get("x-goog-api-key", "")).removeprefix("Bearer ")


async def _send_page(_http: web.Request, _shape: Shape, _fault: Fault) -> web.StreamResponse:
    return web.Response(text="<!doctype html><title>Welcome to the router</title>", content_type="text/html")


async def _send_bomb(_http: web.Request, _shape: Shape, _fault: Fault) -> web.StreamResponse:
    return web.Response(body=_make_bomb(), content_type="application/json", headers={"Content-Encoding": "gzip"})


@cache
def _make_bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(b" " * (1 << 20)) for _ in range(256)) + packer.flush()


async def _send_drip(http: web.Request, _shape: Shape, _fault: Fault) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(http)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.1)


async def _send_error_body(_http: web.Request, shape: Shape, fault: Fault) -> web.StreamResponse:
    return web.json_response(shape.error(fault, f"loopback says {fault.code}"))


_BODIES = {"page": _send_page, "bomb": _send_bomb, "drip": _send_drip, "error_body": _send_error_body}
