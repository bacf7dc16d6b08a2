"""The traces as the page's viewer takes them: a small index of all, and their texts in chunks unpacked on demand.

    index   {"skills": ["Verification", ...], "entries": [{"id": "gsm8k-train-7#0", "kind": "pruned", "before": 310,
             "after": 120, "question": "Maya has ...", "uses": [2, 9], "chunk": 0, "place": 6}, ...]}
    chunk   what is known of each entry, and, apart from it, their texts
      details RS details ...   {"names": ["question", ...], "steps": [[length, skill, action, replacement], ...], ...}
      texts RS texts ...       question US thinking US ...

The index is JSON in a script element. The halves of a chunk are gzipped, in base64, with a dot between: a third of the
size, and nothing for the browser to do until somebody looks. RS and US are ASCII's separators: texts stand between them
as they are, so that a search goes through all of them without parsing any. Every text was written by a model and is
hostile until escaped: see `encode_for_script`. The viewer's script puts it on the page as text only, and the page's
content security policy lets no other script run.
"""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from drp.config.sections import hide_credentials
from drp.records import Action, Decomposition, Failure, Pruning, Sample, Trace

TEXT_LIMIT = 20_000
"""Characters of one text; endless loops are longer and say nothing more."""

TOTAL_LIMIT = 32_000_000
"""Bytes of all chunks in the page; beyond it a trace is listed without its texts."""

CHUNK_SIZE = 500_000
"""Characters of a chunk before it is packed."""

QUESTION_LIMIT = 160

ACTIONS: dict[str | None, int] = {None: 0, **{action.value: n for n, action in enumerate(Action, start=1)}}
"""What a step's action is in the index; 0: not pruned yet."""

RECORD, UNIT = "\x1e", "\x1f"
"""ASCII's separators; in a text they become their pictures."""

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}

Use = tuple[str | None, str | None]
"""(skill, action) of a step."""


def encode_for_script(value: Any) -> str:
    """JSON that can stand inside a <script> element whatever is in it: no `<`, `>`, `&` and no line separators."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    # Half of a surrogate pair has no UTF-8; as an escape it is what JSON allows.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass
class Embedding:
    """Collects what is shown; `index()` and `chunks` are ready to be put into script elements.

    max_traces: traces to take; None: all. What failed, and pairs, come on top.
    """

    max_traces: int | None = None
    total_limit: int = TOTAL_LIMIT
    entries: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[str] = field(default_factory=list)
    skills: Counter[str] = field(default_factory=Counter)
    traces: int = 0
    unlisted: int = 0
    """Traces beyond max_traces."""
    left_out: int = 0
    """Entries without their texts."""
    _details: list[str] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _size: int = 0
    _packed: int = 0

    def add_trace(self, trace: Trace) -> None:
        """A pruning, a decomposition or a bare trace."""
        if self.max_traces is not None and self.traces >= self.max_traces:
            self.unlisted += 1
            return
        self.traces += 1
        uses = list(_each_use(trace))
        self.skills.update({skill for skill, _ in uses if skill})
        kind = "pruned" if isinstance(trace, Pruning) else "steps" if uses else "trace"
        after = trace.n_tokens_pruned if isinstance(trace, Pruning) else None
        entry = {"id": trace.id, "kind": kind, "before": trace.n_tokens, "after": after, "uses": dict.fromkeys(uses)}
        self._add(entry, trace.question, *_describe_trace(trace, uses))

    def add_failure(self, failure: Failure, stage: str, trace: Trace | None) -> None:
        """What a stage could not work on; trace: what it was to work on, where that is known."""
        details: dict[str, Any] = {"stage": stage, "error": failure.error, "attempts": failure.attempts}
        texts = {"message": tidy(hide_credentials(failure.message)), "raw": tidy(failure.raw or "")}
        if trace is not None:
            known, described = _describe_trace(trace, list(_each_use(trace)))
            details, texts = details | known, texts | described
        entry = {"id": failure.id, "kind": "failed", "before": trace.n_tokens if trace else None, "after": None}
        self._add(entry, trace.question if trace else "", details, texts, hide_credentials(failure.message))

    def add_pair(self, benchmark: str, before: tuple[str, Sample], after: tuple[str, Sample]) -> None:
        """Two models' responses to one problem; each as (model's name, sample)."""
        first, second = before[1], after[1]
        kind = "lost" if first.correct else "gained"
        entry = {"id": f"{benchmark} / {second.id}", "kind": kind, "before": first.n_tokens, "after": second.n_tokens}
        details = {"answer": first.answer, "responses": [_describe_sample(*before), _describe_sample(*after)]}
        self._add(entry, first.question, details, {"first": tidy(first.response), "second": tidy(second.response)})

    def _add(
        self, entry: dict[str, Any], question: str, details: dict[str, Any], texts: Mapping[str, str], line: str = ""
    ) -> None:
        """texts: tidy ones. line: what the list shows in place of a question that is not known."""
        entry["question"] = " ".join((question or line)[: 2 * QUESTION_LIMIT].split())[:QUESTION_LIMIT]
        self.entries.append(entry)
        if self._packed >= self.total_limit:
            self.left_out += 1
            return
        entry |= {"chunk": len(self.chunks), "place": len(self._texts)}
        fields = {"question": tidy(question), **texts}
        self._details.append(encode_for_script({"names": list(fields), **details}))
        self._texts.append(UNIT.join(fields.values()))
        self._size += len(self._details[-1]) + len(self._texts[-1])
        if self._size >= CHUNK_SIZE:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Pack what is collected so far; to be called once at the end, too."""
        if self._texts:
            self.chunks.append(f"{_pack(self._details)}.{_pack(self._texts)}")
            self._packed += len(self.chunks[-1])
        self._details, self._texts, self._size = [], [], 0

    def index(self) -> str:
        """JSON for the index's script element. A use is a number: the skill's place, the commonest first, times 8, plus
        the action's number."""
        skills = [skill for skill, _ in self.skills.most_common()]
        places = {skill: place for place, skill in enumerate([*skills, None])}
        entries = [
            {**entry, "uses": [8 * places[skill] + ACTIONS[action] for skill, action in entry.get("uses", ())]}
            for entry in self.entries
        ]
        return encode_for_script({"entries": entries, "skills": skills})


def _pack(records: list[str]) -> str:
    # No time stamp: the same traces make the same page.
    return base64.b64encode(gzip.compress(RECORD.join(records).encode(), mtime=0)).decode()


def _each_use(trace: Trace) -> Iterator[Use]:
    """Of each step."""
    if not isinstance(trace, Decomposition):
        return
    edits = trace.edits if isinstance(trace, Pruning) else ()
    actions = {source: edit.action.value for edit in edits for source in edit.sources}
    for index, step in enumerate(trace.steps):
        yield step.skill, actions.get(index)


def _describe_trace(trace: Trace, uses: list[Use]) -> tuple[dict[str, Any], dict[str, str]]:
    """(details, texts by name)"""
    details: dict[str, Any] = {"answer": trace.answer, "predicted": trace.predicted, "correct": trace.correct}
    texts = {"thinking": tidy(trace.thinking), "summary": tidy(trace.summary)}
    if isinstance(trace, Decomposition):
        pieces, new = [tidy(step.text) for step in trace.steps], _replacements(trace)
        details["teacher"] = trace.teacher
        details["steps"] = [[units(piece), *uses[index], new.get(index)] for index, piece in enumerate(pieces)]
        texts["thinking"] = "".join(pieces)
    if isinstance(trace, Pruning):
        texts |= {"pruned": tidy(trace.pruned_thinking), "pruned_summary": tidy(trace.pruned_summary)}
    return details, texts


def _replacements(trace: Decomposition) -> dict[int, str]:
    """Step's index -> what stands in its place; a merge's text stands with its first step."""
    edits = trace.edits if isinstance(trace, Pruning) else ()
    replaced = (edit for edit in edits if edit.action in (Action.REWRITE, Action.MERGE))
    return {edit.sources[0]: tidy(edit.text) for edit in replaced}


def _describe_sample(model: str, sample: Sample) -> dict[str, Any]:
    return {"model": model, "predicted": sample.predicted, "correct": sample.correct, "tokens": sample.n_tokens}


def tidy(text: str) -> str:
    """A text of bearable length that has a UTF-8 and holds no separator."""
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]}\n[… {len(text) - TEXT_LIMIT:,} more characters, left out of this page]"
    for separator in (RECORD, UNIT):
        text = text.replace(separator, chr(0x2400 + ord(separator)))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def units(text: str) -> int:
    """Length as JavaScript counts it."""
    return len(text.encode("utf-16-le")) // 2
