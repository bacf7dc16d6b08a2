"""OpenAI's Files and Batches endpoints of the loopback server, with faults.

    LoopbackServer(answer, plans=[BatchPlan(n_polls=2, shuffled=True), BatchPlan(refusal=OVER_LIMIT)])
    server.batches.sent          how often each request was in a created batch, by custom_id
    server.batches.by_id         the batches as the API returns them

Each uploaded file takes the next plan, which holds for the batch that is created of it; batches without a plan end at
once. The server's `faults` apply to each row, as to direct calls: an error status becomes a row of the error file, and
EXPIRED a row that was not processed in time.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.loopback.faults import Fault
from tests.loopback.shapes import OpenAIShape

if TYPE_CHECKING:
    from tests.loopback.server import LoopbackServer

ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class Refusal:
    """Why a whole batch is refused. line: of the file, from 1; None if no line is named. said: the message."""

    code: str
    line: int | None = None
    said: str = "loopback refuses this"


OVER_LIMIT = Refusal("token_limit_exceeded")


@dataclass
class BatchPlan:
    """What happens to one batch.

    n_polls: how often it is polled before it ends. n_done: requests that are done if it is cancelled.
    upload, create, poll, download: the fault of the first such request; after_create: one after the batch was created.
    unfiled: the status is `completed` one poll before the output file is listed.
    short: the first download ends early, between two rows, so that it looks complete.
    shuffled: rows in another order. doubled: each reply is twice in the output file, and once in the error file.
    """

    n_polls: int = 0
    n_done: int = 0
    refusal: Refusal | None = None
    upload: Fault | None = None
    create: Fault | None = None
    after_create: Fault | None = None
    poll: Fault | None = None
    download: Fault | None = None
    short: bool = False
    unfiled: bool = False
    shuffled: bool = False
    doubled: bool = False

    def draw(self, step: str) -> Fault | None:
        """The fault of a step; None from the second time on."""
        fault: Fault | None = getattr(self, step)
        setattr(self, step, None)
        return fault


@dataclass
class _Upload:
    content: bytes
    plan: BatchPlan

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.content.splitlines()]


@dataclass
class Batches:
    """The state of both endpoints."""

    server: "LoopbackServer"
    plans: Iterable[BatchPlan]
    by_id: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, _Upload] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    keys_seen: set[str] = field(default_factory=set)
    n_unlisted: int = 0
    """How many more lists leave out the newest batch."""

    def __post_init__(self) -> None:
        self.plans = iter(self.plans)

    @property
    def sizes(self) -> list[int]:
        """Requests in each batch, in the order of their creation."""
        return [batch["request_counts"]["total"] for batch in self.by_id.values()]

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/files", self._upload)
        router.add_get("/v1/files/{id}/content", self._download)
        router.add_post("/v1/batches", self._create)
        router.add_get("/v1/batches", self._list)
        router.add_get("/v1/batches/{id}", self._poll)
        router.add_post("/v1/batches/{id}/cancel", self._cancel)

    async def _upload(self, http: web.Request) -> web.StreamResponse:
        self.keys_seen.add(http.headers.get("Authorization", ""))
        form = await http.post()
        assert form["purpose"] == "batch"
        content = form["file"].file.read()  # type: ignore[union-attr]
        plan = next(self.plans, None) or BatchPlan()  # type: ignore[call-overload]
        if fault := plan.draw("upload"):
            return await self.server.fail(http, fault)
        id = self._store(content, plan)
        return web.json_response({"id": id, "object": "file", "bytes": len(content), "purpose": "batch"})

    def _store(self, content: bytes, plan: BatchPlan) -> str:
        id = f"file-{len(self.files)}"
        self.files[id] = _Upload(content, plan)
        return id

    async def _create(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        upload = self.files[body["input_file_id"]]
        if fault := upload.plan.draw("create"):
            return await self.server.fail(http, fault)
        rows = upload.rows()
        batch = {
            "id": f"batch_{len(self.by_id)}",
            "object": "batch",
            "endpoint": body["endpoint"],
            "completion_window": body["completion_window"],
            "input_file_id": body["input_file_id"],
            "metadata": body.get("metadata"),
            "created_at": int(time.time()),
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
        }
        self.by_id[batch["id"]] = batch
        self.sent.update(row["custom_id"] for row in rows)
        if fault := upload.plan.draw("after_create"):
            return await self.server.fail(http, fault)
        return web.json_response(batch)

    async def _list(self, http: web.Request) -> web.StreamResponse:
        batches = list(reversed(self.by_id.values()))
        if self.n_unlisted:
            self.n_unlisted -= 1
            batches = batches[1:]
        ids = [batch["id"] for batch in batches]
        start = ids.index(http.query["after"]) + 1 if "after" in http.query else 0
        page = batches[start : start + min(2, int(http.query.get("limit", 20)))]
        has_more = start + len(page) < len(batches)
        return web.json_response({"object": "list", "data": page, "has_more": has_more})

    async def _poll(self, http: web.Request) -> web.StreamResponse:
        batch = self.by_id.get(http.match_info["id"])
        if batch is None:
            return web.json_response({"error": {"message": "No such batch", "code": None}}, status=404)
        plan = self.files[batch["input_file_id"]].plan
        if fault := plan.draw("poll"):
            return await self.server.fail(http, fault)
        if batch["status"] not in ENDED:
            self._advance(batch, plan)
        if plan.unfiled and batch["status"] == "completed":
            plan.unfiled = False
            return web.json_response({**batch, "output_file_id": None})
        return web.json_response(batch)

    def _advance(self, batch: dict[str, Any], plan: BatchPlan) -> None:
        if batch["status"] == "cancelling":
            self._finish(batch, plan, plan.n_done)
        elif plan.refusal:
            refusal = {"code": plan.refusal.code, "line": plan.refusal.line, "message": plan.refusal.said}
            batch |= {"status": "failed", "errors": {"object": "list", "data": [refusal]}}
            batch["request_counts"]["total"] = 0
        elif plan.n_polls > 0:
            plan.n_polls -= 1
            batch["status"] = "in_progress"
        else:
            self._finish(batch, plan, None)

    def _finish(self, batch: dict[str, Any], plan: BatchPlan, n_done: int | None) -> None:
        """Process the rows, or the first `n_done` of a batch that was cancelled."""
        replies, errors = [], []
        for row in self.files[batch["input_file_id"]].rows()[:n_done]:
            done = self._process(row)
            (replies if done["response"] and done["response"]["status_code"] == 200 else errors).append(done)
        expired = any(row["error"] for row in errors)
        batch["status"] = "cancelled" if n_done is not None else "expired" if expired else "completed"
        batch["request_counts"] |= {"completed": len(replies), "failed": len(errors)}
        if plan.doubled:
            errors += [_refuse(row["custom_id"], 500, {"error": {"message": "doubled"}}) for row in replies]
            replies = replies * 2
        if plan.shuffled:
            random.Random(1).shuffle(replies)
        for name, rows in (("output_file_id", replies), ("error_file_id", errors)):
            if rows:
                batch[name] = self._store("".join(json.dumps(row) + "\n" for row in rows).encode(), plan)

    def _process(self, row: dict[str, Any]) -> dict[str, Any]:
        shape = OpenAIShape()
        question = shape.read(row["url"], row["body"])
        fault = self.server.draw(question)
        if fault and fault.kind == "expired":
            error = {"code": "batch_expired", "message": "not executed before the completion window expired"}
            return {"id": "r", "custom_id": row["custom_id"], "response": None, "error": error}
        if fault and fault.kind == "status":
            return _refuse(row["custom_id"], fault.status, shape.error(fault, f"loopback says {fault.code}"))
        text, fault = self.server.write(question, fault)
        if fault and fault.echo_key:
            text = " ".join([text, *self.keys_seen])
        self.server.n_completed += 1
        response = {"status_code": 200, "request_id": "r", "body": shape.answer(question, text, fault)}
        return {"id": "r", "custom_id": row["custom_id"], "response": response, "error": None}

    async def _cancel(self, http: web.Request) -> web.StreamResponse:
        batch = self.by_id[http.match_info["id"]]
        if batch["status"] in ENDED:
            error = {"message": f"Cannot cancel a batch with status '{batch['status']}'.", "code": None}
            return web.json_response({"error": error}, status=409)
        batch["status"] = "cancelling"
        return web.json_response(batch)

    async def _download(self, http: web.Request) -> web.StreamResponse:
        file = self.files[http.match_info["id"]]
        fault = file.plan.draw("download")
        if fault and fault.kind in ("cut", "hang"):
            response = web.StreamResponse(headers={"Content-Length": str(len(file.content))})
            await response.prepare(http)
            await response.write(file.content[: len(file.content) // 2])
            return await self.server.fail(http, fault)
        if fault:
            return await self.server.fail(http, fault)
        if file.plan.short:
            file.plan.short = False
            return web.Response(body=file.content.splitlines(keepends=True)[0], content_type="application/jsonl")
        return web.Response(body=file.content, content_type="application/jsonl")


def _refuse(key: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "r", "custom_id": key, "response": response, "error": None}
