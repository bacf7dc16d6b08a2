"""The traces in the form in which the page's viewer (templates/traces.js) reads them: an index, and texts in chunks.

    index   {"skills": ["Verification", ...], "entries": [{"id": "gsm8k-train-7#0", "kind": "pruned", "before": 310,
             "after": 120, "question": "Maya has ...", "uses": [2, 9], "chunk": 0, "place": 6}, ...]}
    chunk   two gzip streams in base64, with a dot between them: the details of its entries, and their texts
      details RS details ...   {"names": ["question", ...], "steps": [[length, skill, action, replacement], ...], ...}
      texts RS texts ...       question US thinking US ...

The browser unpacks a chunk when one of its entries is opened, or when all texts are searched. Packing makes it a third
of the size. RS and US are the ASCII separators: a search reads the texts between them without parsing JSON.

Every text was written by a model and is treated as hostile. `encode_for_script` keeps it inside its script element, the
viewer's script puts it on the page as text only, and the page's content security policy allows no other script.
"""

import base64
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drp.credentials import hide_credentials
from drp.evaluation.outcomes import benchmark_files
from drp.records import Action, Decomposition, Failure, Pruning, Sample, Trace
from drp.report.results import BASE, Evaluation, name_model
from drp.runs.jsonl import read_records

TEXT_LIMIT = 20_000
"""Characters of one text; longer ones are mostly endless loops, and are cut."""

TOTAL_LIMIT = 32_000_000
"""Characters of all chunks. Entries beyond it are listed without their texts."""

CHUNK_SIZE = 500_000
"""Characters of a chunk before it is packed."""

QUESTION_LIMIT = 160
"""Characters of the question in the list."""

MAX_RESPONSES = 100
"""Pairs of responses shown for each benchmark: so many that only the base got right, and that only the other did."""

ACTIONS: dict[str | None, int] = {None: 0, **{action.value: n for n, action in enumerate(Action, start=1)}}
"""A step's action as a number in the index; 0: not pruned yet."""

RECORD, UNIT = "\x1e", "\x1f"
"""The ASCII separators RS and US."""

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}

StepLabel = tuple[str | None, str | None]
"""(skill, action) of a step."""


@dataclass
class ViewerData:
    """Collects the entries of the viewer; `encode` returns them for the page."""

    max_traces: int | None = None
    """Traces to take; None: all. Failures and changed responses are not counted."""
    total_limit: int = TOTAL_LIMIT
    entries: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[str] = field(default_factory=list)
    skills: Counter[str] = field(default_factory=Counter)
    """Traces in which each skill occurs."""
    traces: int = 0
    unlisted: int = 0
    """Traces beyond max_traces."""
    left_out: int = 0
    """Entries whose texts are beyond total_limit."""
    _details: list[str] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _size: int = 0
    _packed: int = 0

    def add_trace(self, trace: Trace) -> None:
        """Add a trace, a decomposition or a pruning."""
        if self.max_traces is not None and self.traces >= self.max_traces:
            self.unlisted += 1
            return
        self.traces += 1
        labels = list(_label_steps(trace))
        self.skills.update({skill for skill, _ in labels if skill})
        kind = "pruned" if isinstance(trace, Pruning) else "steps" if labels else "trace"
        after = trace.n_tokens_pruned if isinstance(trace, Pruning) else None
        entry = {"id": trace.id, "kind": kind, "before": trace.n_tokens, "after": after, "uses": dict.fromkeys(labels)}
        self._add(entry, trace.question, *_describe_trace(trace, labels))

    def add_failures(self, traces: Path, failures: Iterable[tuple[str, Failure]]) -> None:
        """Add (stage, failure) pairs, each with its record of the file `traces` if it has one."""
        found = list(failures)
        ids = {failure.id for _, failure in found}
        known = {trace.id: trace for trace in read_records(traces, Trace, "skip") if trace.id in ids} if ids else {}
        for stage, failure in found:
            self._add_failure(failure, stage, known.get(failure.id))

    def _add_failure(self, failure: Failure, stage: str, trace: Trace | None) -> None:
        message = hide_credentials(failure.message)
        details: dict[str, Any] = {"stage": stage, "error": failure.error, "attempts": failure.attempts}
        texts = {"message": _tidy(message), "raw": _tidy(failure.raw or "")}
        if trace is not None:
            known, described = _describe_trace(trace, list(_label_steps(trace)))
            details, texts = details | known, texts | described
        entry = {"id": failure.id, "kind": "failed", "before": trace.n_tokens if trace else None, "after": None}
        self._add(entry, trace.question if trace else "", details, texts, summary=message)

    def add_changed_responses(self, folder: Path, evaluation: Evaluation, seed: int) -> None:
        """Add the responses to problems that only one of base and headline's model solved; drawn by seed if there are
        many. folder: the run's eval folder."""
        model = evaluation.subject
        if model is None:
            return
        files = {name: dict(benchmark_files(folder / name)) for name in (BASE, model)}
        for benchmark in evaluation.benchmarks:
            ids = _draw_changed(evaluation, model, benchmark, random.Random(seed))
            if ids:
                before, after = (_read_samples(files[name][benchmark], ids) for name in (BASE, model))
                for id_ in ids:
                    self._add_responses(benchmark, (name_model(BASE), before[id_]), (name_model(model), after[id_]))

    def _add_responses(self, benchmark: str, before: tuple[str, Sample], after: tuple[str, Sample]) -> None:
        """before, after: (model, sample)"""
        first, second = before[1], after[1]
        kind = "lost" if first.correct else "gained"
        entry = {"id": f"{benchmark} / {second.id}", "kind": kind, "before": first.n_tokens, "after": second.n_tokens}
        details = {"answer": first.answer, "responses": [_describe_sample(*before), _describe_sample(*after)]}
        self._add(entry, first.question, details, {"first": _tidy(first.response), "second": _tidy(second.response)})

    def _add(
        self, entry: dict[str, Any], question: str, details: dict[str, Any], texts: Mapping[str, str], summary: str = ""
    ) -> None:
        """texts: already tidied. summary: shown in the list if the question is not known."""
        entry["question"] = " ".join((question or summary)[: 2 * QUESTION_LIMIT].split())[:QUESTION_LIMIT]
        self.entries.append(entry)
        if self._packed >= self.total_limit:
            self.left_out += 1
            return
        entry |= {"chunk": len(self.chunks), "place": len(self._texts)}
        fields = {"question": _tidy(question), **texts}
        self._details.append(encode_for_script({"names": list(fields), **details}))
        self._texts.append(UNIT.join(fields.values()))
        self._size += len(self._details[-1]) + len(self._texts[-1])
        if self._size >= CHUNK_SIZE:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Pack the entries added since the last chunk."""
        if self._texts:
            self.chunks.append(f"{_pack(self._details)}.{_pack(self._texts)}")
            self._packed += len(self.chunks[-1])
        self._details, self._texts, self._size = [], [], 0

    def encode(self) -> tuple[str, list[str]]:
        """The index and the chunks, as the contents of script elements.

        A step's label in `uses` is a number: 8 times the skill's place in `skills`, plus the action's number.
        """
        self.close_chunk()
        skills = [skill for skill, _ in self.skills.most_common()]
        places = {skill: place for place, skill in enumerate([*skills, None])}
        entries = [
            {**entry, "uses": [8 * places[skill] + ACTIONS[action] for skill, action in entry.get("uses", ())]}
            for entry in self.entries
        ]
        return encode_for_script({"entries": entries, "skills": skills}), self.chunks


def encode_for_script(value: Any) -> str:
    """JSON that is safe inside a <script> element: without `<`, `>`, `&` and Unicode line separators."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    # A lone surrogate has no UTF-8 encoding; JSON allows it as an escape.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _tidy(text: str) -> str:
    """Cut a text to TEXT_LIMIT and replace what a chunk cannot hold: its separators and lone surrogates."""
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]}\n[… {len(text) - TEXT_LIMIT:,} more characters are not included in this page]"
    for separator in (RECORD, UNIT):
        text = text.replace(separator, chr(0x2400 + ord(separator)))  # the separator's picture
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _pack(records: list[str]) -> str:
    # Without a time stamp, so that the same traces make the same page.
    return base64.b64encode(gzip.compress(RECORD.join(records).encode(), mtime=0)).decode()


def _label_steps(trace: Trace) -> Iterator[StepLabel]:
    """A label for each step; nothing for a trace without steps."""
    if not isinstance(trace, Decomposition):
        return
    edits = trace.edits if isinstance(trace, Pruning) else ()
    actions = {source: edit.action.value for edit in edits for source in edit.sources}
    for index, step in enumerate(trace.steps):
        yield step.skill, actions.get(index)


def _describe_trace(trace: Trace, labels: list[StepLabel]) -> tuple[dict[str, Any], dict[str, str]]:
    """(details, texts by name)"""
    details: dict[str, Any] = {"answer": trace.answer, "predicted": trace.predicted, "correct": trace.correct}
    texts = {"thinking": _tidy(trace.thinking), "summary": _tidy(trace.summary)}
    if isinstance(trace, Decomposition):
        pieces, replacements = [_tidy(step.text) for step in trace.steps], _find_replacements(trace)
        details["teacher"] = trace.teacher
        details["steps"] = [
            [_count_utf16(piece), *labels[index], replacements.get(index)] for index, piece in enumerate(pieces)
        ]
        texts["thinking"] = "".join(pieces)
    if isinstance(trace, Pruning):
        texts |= {"pruned": _tidy(trace.pruned_thinking), "pruned_summary": _tidy(trace.pruned_summary)}
    return details, texts


def _find_replacements(trace: Decomposition) -> dict[int, str]:
    """Step's index -> the text of its rewrite; the text of a merge is at the first of its steps."""
    edits = trace.edits if isinstance(trace, Pruning) else ()
    replaced = (edit for edit in edits if edit.action in (Action.REWRITE, Action.MERGE))
    return {edit.sources[0]: _tidy(edit.text) for edit in replaced}


def _count_utf16(text: str) -> int:
    """The length of a string in JavaScript."""
    return len(text.encode("utf-16-le")) // 2


def _draw_changed(evaluation: Evaluation, model: str, benchmark: str, random_: random.Random) -> list[str]:
    """Ids of samples that only the base got right, then of those that only `model` got right."""
    before, after = (
        {outcome.id: outcome.correct is True for outcome in evaluation.outcomes.get((name, benchmark), ())}
        for name in (BASE, model)
    )
    shared = [id_ for id_ in before if id_ in after]
    lost = [id_ for id_ in shared if before[id_] and not after[id_]]
    gained = [id_ for id_ in shared if after[id_] and not before[id_]]
    return [id_ for ids in (lost, gained) for id_ in sorted(random_.sample(ids, min(MAX_RESPONSES, len(ids))))]


def _read_samples(path: Path, ids: Sequence[str]) -> dict[str, Sample]:
    wanted = set(ids)
    return {sample.id: sample for sample in read_records(path, Sample, "skip") if sample.id in wanted}


def _describe_sample(model: str, sample: Sample) -> dict[str, Any]:
    return {"model": model, "predicted": sample.predicted, "correct": sample.correct, "tokens": sample.n_tokens}
