"""The JSON of both providers: how a request is read, and how an answer or an error is written."""

from dataclasses import dataclass
from typing import Any, Protocol

from tests.loopback.faults import Fault


@dataclass(frozen=True)
class Question:
    """messages: (role, text) pairs, the same for both providers."""

    model: str
    messages: list[tuple[str, str]]
    max_tokens: int | None
    temperature: float | None


class Shape(Protocol):
    def read(self, path: str, body: dict[str, Any]) -> Question: ...

    def answer(self, question: Question, text: str, fault: Fault | None) -> dict[str, Any]: ...

    def error(self, fault: Fault, message: str) -> dict[str, Any]: ...


def count_tokens(text: str) -> int:
    """Tokens of an English text, about as a real tokenizer counts them."""
    return max(1, len(text) // 4) if text else 0


class OpenAIShape:
    """POST /v1/chat/completions."""

    def read(self, path: str, body: dict[str, Any]) -> Question:
        messages = [(message["role"], message["content"]) for message in body["messages"]]
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        return Question(body["model"], messages, limit, body.get("temperature"))

    def answer(self, question: Question, text: str, fault: Fault | None) -> dict[str, Any]:
        kind = fault.kind if fault else ""
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        finish = {"length": "length", "content_filter": "content_filter"}.get(kind, "stop")
        if kind == "refusal":
            message |= {"content": None, "refusal": text}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        read, wrote = sum(count_tokens(content) for _, content in question.messages), count_tokens(text)
        return {
            "id": "chatcmpl-loopback",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": question.model,
            "choices": [] if kind == "no_choices" else [choice],
            "usage": {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote},
        }

    def error(self, fault: Fault, message: str) -> dict[str, Any]:
        param = "temperature" if fault.code == "unsupported_value" else None
        return {"error": {"message": message, "type": "error", "param": param, "code": fault.code}}


_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


class GeminiShape:
    """POST /v1beta/models/MODEL:generateContent."""

    def read(self, path: str, body: dict[str, Any]) -> Question:
        messages = [("system", _join(body["systemInstruction"]))] if "systemInstruction" in body else []
        roles = {"model": "assistant"}
        messages += [(roles.get(turn["role"], turn["role"]), _join(turn)) for turn in body["contents"]]
        options = body.get("generationConfig", {})
        model = path.rpartition("/")[2].removesuffix(":generateContent")
        return Question(model, messages, options.get("maxOutputTokens"), options.get("temperature"))

    def answer(self, question: Question, text: str, fault: Fault | None) -> dict[str, Any]:
        kind = fault.kind if fault else ""
        finish = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}.get(kind, "STOP")
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish, "index": 0}
        read, wrote = sum(count_tokens(content) for _, content in question.messages), count_tokens(text)
        reply: dict[str, Any] = {
            "candidates": [] if kind in ("no_choices", "refusal") else [candidate],
            "usageMetadata": {
                "promptTokenCount": read,
                "candidatesTokenCount": wrote,
                "totalTokenCount": read + wrote,
            },
            "modelVersion": question.model,
        }
        if kind == "refusal":
            reply["promptFeedback"] = {"blockReason": "SAFETY"}
        return reply

    def error(self, fault: Fault, message: str) -> dict[str, Any]:
        status = _GOOGLE_STATUS.get(fault.status, "INTERNAL")
        details: list[dict[str, str]] = []
        if fault.retry_delay:
            details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": fault.retry_delay}]
        if fault.code == "invalid_api_key":
            details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
        return {"error": {"code": fault.status, "message": message, "status": status, "details": details}}


def _join(turn: dict[str, Any]) -> str:
    return "".join(part["text"] for part in turn["parts"])
