"""The traces as the page's viewer takes them: a small index of all, and their texts in chunks unpacked on demand.

    index   {"skills": ["Verification", ...], "entries": [{"id": "gsm8k-train-7#0", "kind": "pruned", "before": 310,
             "after": 120, "question": "Maya has ...", "skills": [0, 3], "chunk": 0, "place": 6}, ...]}
    chunk   [{"question": ..., "steps": [[text, skill, action, replacement], ...], "pruned": ..., ...}, ...]

The index is JSON in a script element, a chunk is JSON, gzipped, in base64: a fifth of the size, and nothing for the
browser to do until somebody looks. Every text in them was written by a model, so it is hostile until escaped: see
`encode_for_script`. The viewer's script puts it on the page as text only, and the page's content security policy lets
no other script run.
"""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from drp.records import Action, Decomposition, Failure, Pruning, Sample, Trace

TEXT_LIMIT = 20_000
"""Characters of one text; endless loops are longer and say nothing more."""

TOTAL_LIMIT = 24_000_000
"""Bytes of all chunks in the page; beyond it a trace is listed without its texts."""

CHUNK_SIZE = 400_000
"""Characters of a chunk before it is packed."""

QUESTION_LIMIT = 160

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def encode_for_script(value: Any) -> str:
    """JSON that can stand inside a <script> element whatever is in it: no `<`, `>`, `&` and no line separators."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    # Half of a surrogate pair has no UTF-8; as an escape it is what JSON allows.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass
class Embedding:
    """Collects what is shown; `index()` and `chunks` are ready to be put into script elements."""

    total_limit: int = TOTAL_LIMIT
    entries: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[str] = field(default_factory=list)
    skills: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    """Entries without their texts."""
    _open: list[str] = field(default_factory=list)
    _open_size: int = 0
    _packed: int = 0

    def add_trace(self, trace: Trace) -> None:
        """A pruning, a decomposition or a bare trace."""
        steps = list(_each_step(trace))
        names = list(dict.fromkeys(step[1] for step in steps if step[1]))
        self.skills.update(names)
        kind = "pruned" if isinstance(trace, Pruning) else "steps" if steps else "trace"
        after = trace.n_tokens_pruned if isinstance(trace, Pruning) else None
        entry = {"id": trace.id, "kind": kind, "before": trace.n_tokens, "after": after, "skills": names}
        self._add(entry | {"correct": trace.correct}, trace.question, _describe_trace(trace, steps))

    def add_failure(self, failure: Failure, stage: str, trace: Trace | None) -> None:
        """What a stage could not work on; trace: what it was to work on, where that is known."""
        detail: dict[str, Any] = {"stage": stage, "error": failure.error, "message": _clip(failure.message)}
        detail |= {"raw": _clip(failure.raw or ""), "attempts": failure.attempts}
        if trace is not None:
            detail |= _describe_trace(trace, list(_each_step(trace)))
        entry = {"id": failure.id, "kind": "failed", "before": trace.n_tokens if trace else None, "after": None}
        self._add(entry, trace.question if trace else "", detail, failure.message)

    def add_pair(self, benchmark: str, before: tuple[str, Sample], after: tuple[str, Sample]) -> None:
        """Two models' responses to one problem; each as (model's name, sample)."""
        first, second = before[1], after[1]
        kind = "lost" if first.correct else "gained"
        entry = {"id": f"{benchmark} / {second.id}", "kind": kind, "before": first.n_tokens, "after": second.n_tokens}
        detail = {"answer": first.answer, "responses": [_describe_sample(*before), _describe_sample(*after)]}
        self._add(entry, first.question, detail)

    def _add(self, entry: dict[str, Any], question: str, detail: dict[str, Any], line: str = "") -> None:
        """line: what the list shows in place of a question that is not known."""
        entry["question"] = " ".join((question or line)[: 2 * QUESTION_LIMIT].split())[:QUESTION_LIMIT]
        if self._packed >= self.total_limit:
            self.left_out += 1
            entry["chunk"] = None
        else:
            entry |= {"chunk": len(self.chunks), "place": len(self._open)}
            self._open.append(encode_for_script({"question": _clip(question), **detail}))
            self._open_size += len(self._open[-1])
            if self._open_size >= CHUNK_SIZE:
                self.close_chunk()
        self.entries.append(entry)

    def close_chunk(self) -> None:
        """Pack what is collected so far; to be called once at the end, too."""
        if self._open:
            # No time stamp: the same traces make the same page.
            packed = gzip.compress(f"[{','.join(self._open)}]".encode(), mtime=0)
            self.chunks.append(base64.b64encode(packed).decode())
            self._packed += len(self.chunks[-1])
        self._open, self._open_size = [], 0

    def index(self) -> str:
        """JSON for the index's script element; skills by number, the commonest first."""
        skills = [skill for skill, _ in self.skills.most_common()]
        numbers = {skill: place for place, skill in enumerate(skills)}
        entries = [{**entry, "skills": [numbers[skill] for skill in entry.get("skills", ())]} for entry in self.entries]
        return encode_for_script({"entries": entries, "skills": skills})


def _each_step(trace: Trace) -> Iterator[list[str | None]]:
    """[text, skill, action, what stands there instead]; a merge's text stands with its first step."""
    if not isinstance(trace, Decomposition):
        return
    done: dict[int, tuple[str, str | None]] = {}
    for edit in trace.edits if isinstance(trace, Pruning) else ():
        for rank, source in enumerate(edit.sources):
            shown = edit.action in (Action.REWRITE, Action.MERGE) and rank == 0
            done[source] = (edit.action.value, _clip(edit.text) if shown else None)
    for index, step in enumerate(trace.steps):
        yield [_clip(step.text), step.skill, *done.get(index, (None, None))]


def _describe_trace(trace: Trace, steps: list[list[str | None]]) -> dict[str, Any]:
    detail: dict[str, Any] = {"answer": trace.answer, "predicted": trace.predicted, "correct": trace.correct}
    detail |= {"summary": _clip(trace.summary), "model": trace.model, "finish": trace.finish_reason}
    detail |= {"steps": steps} if steps else {"thinking": _clip(trace.thinking)}
    if isinstance(trace, Decomposition):
        detail["teacher"] = trace.teacher
    if isinstance(trace, Pruning):
        detail |= {"pruned": _clip(trace.pruned_thinking), "pruned_summary": _clip(trace.pruned_summary)}
    return detail


def _describe_sample(model: str, sample: Sample) -> dict[str, Any]:
    return {
        "model": model,
        "text": _clip(sample.response),
        "predicted": sample.predicted,
        "correct": sample.correct,
        "tokens": sample.n_tokens,
        "finish": sample.finish_reason,
    }


def _clip(text: str) -> str:
    if len(text) <= TEXT_LIMIT:
        return text
    return f"{text[:TEXT_LIMIT]}\n[… {len(text) - TEXT_LIMIT:,} more characters, left out of this page]"
