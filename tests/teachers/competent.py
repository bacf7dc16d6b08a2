"""A competent teacher made of a sentence splitter: it answers the prompts of `drp.teachers.llm` from the prompt alone.

As a function of messages it serves the loopback server (`LoopbackServer(answer=...)`), as `CompetentClient` it is a
ChatClient without a network. It knows nothing of the package's own splitting, alignment or assembly.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from drp.chat.wire import FinishReason, Message, Reply
from drp.records import Usage

Messages = Sequence[tuple[str, str]]

_SKILLS = [
    (r"\bwait\b|check|verify|make sure", "Checking a result"),
    (r"[*×·]|times|multipl", "Multiplication"),
    (r"÷|divid", "Division"),
    (r"\+|\badd", "Addition"),
    (r"subtract|less|\d\s*-\s*\d", "Subtraction"),
    (r"=", "Simplifying"),
    (r"need to|find|determine", "Setting a goal"),
]
_HESITATION = re.compile(r"^\W*(?:wait|hmm|let me|okay|alternatively|that seems|is that)\b", re.IGNORECASE)
_LEAD_IN = re.compile(r"^(?:First|Next|Then|Now|Finally|So|Therefore)\b,?\s+(?=\w)")
_GOAL = re.compile(r"\b(?:I need to|I should|let's|I'll)\b", re.IGNORECASE)


def answer(messages: Messages) -> str:
    """The reply to a conversation. Being right the first time, it looks at the task only."""
    prompt = messages[0][1]
    task = re.findall(r"^<(thinking|clauses|steps)(?:-\w+)?>$", prompt, re.MULTILINE)[0]
    if task == "steps":
        return _prune_as_text(prompt) if "=== PRUNED THINKING ===" in prompt else _prune_as_spans(prompt)
    with_skills = "skill" in prompt.lower()
    if task == "clauses":
        return _group_clauses(prompt, with_skills)
    return _copy_steps(prompt, with_skills)


def read_tag(prompt: str, tag: str) -> str:
    """The text between the last tags of this name."""
    found = list(re.finditer(rf"<({tag}(?:-\w+)?)>\n(.*?)\n</\1>", prompt, re.DOTALL))
    return found[-1][2]


def _name_skill(text: str) -> str:
    return next(
        (name for pattern, name in _SKILLS if re.search(pattern, text, re.IGNORECASE)), "Interpreting a quantity"
    )


def _copy_steps(prompt: str, with_skills: bool) -> str:
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])|\n+", read_tag(prompt, "thinking"))
    lines = []
    for number, sentence in enumerate(filter(str.strip, sentences), 1):
        lines.append(f"Step {number}: {sentence}")
        if with_skills:
            lines.append(f"Skill: {_name_skill(sentence)}")
    return "\n".join(lines)


def _group_clauses(prompt: str, with_skills: bool) -> str:
    clauses = re.findall(r"^\[(\d+)\] (.*)$", read_tag(prompt, "clauses"), re.MULTILINE)
    groups: list[tuple[int, int, str]] = []
    for number, text in clauses:
        skill = _name_skill(text)
        if groups and groups[-1][2] == skill:
            groups[-1] = (groups[-1][0], int(number), skill)
        else:
            groups.append((int(number), int(number), skill))
    names = [f"{first}-{last}" if last > first else f"{first}" for first, last, _ in groups]
    return "\n".join(
        f"{name} | {skill}" if with_skills else name for name, (_, _, skill) in zip(names, groups, strict=True)
    )


@dataclass
class _Decision:
    """verb: KEEP, DELETE, REWRITE or MERGE. text: what the steps become."""

    verb: str
    numbers: list[int]
    text: str


def _decide(steps: list[tuple[int, str]]) -> list[_Decision]:
    """Hesitation goes, a goal is merged with what follows it, a lead-in is dropped, and the rest stays."""
    decisions: list[_Decision] = []
    waiting = list(steps)
    while waiting:
        number, text = waiting.pop(0)
        if _HESITATION.match(text) and (waiting or decisions) and not (not waiting and re.search(r"\d", text)):
            decisions.append(_Decision("DELETE", [number], ""))
        elif _GOAL.search(text) and not re.search(r"\d", text) and waiting and not _HESITATION.match(waiting[0][1]):
            following, kept = waiting.pop(0)
            decisions.append(_Decision("MERGE", [number, following], _LEAD_IN.sub("", kept)))
        elif _LEAD_IN.match(text):
            shorter = _LEAD_IN.sub("", text)
            start = shorter[0].upper() if shorter[:2].isalpha() else shorter[0]
            decisions.append(_Decision("REWRITE", [number], start + shorter[1:]))
        else:
            decisions.append(_Decision("KEEP", [number], text))
    if all(decision.verb == "DELETE" for decision in decisions):
        number, text = steps[-1]
        decisions[-1] = _Decision("KEEP", [number], text)
    return decisions


def _asks_for_answer(prompt: str) -> bool:
    return "write no answer section" not in prompt


def _prune_as_text(prompt: str) -> str:
    body = re.sub(r"\nSkill: .*", "", read_tag(prompt, "steps"))
    pieces = re.split(r"^Step (\d+): ", body, flags=re.MULTILINE)[1:]
    decisions = _decide([(int(number), text.strip()) for number, text in zip(pieces[::2], pieces[1::2], strict=True)])
    names = {"REWRITE": "SINGLE-STEP COMPRESS: ", "MERGE": "MULTI-STEP COMPRESS: "}
    lines = [
        f"Step{'s' * (len(d.numbers) > 1)} {'-'.join(map(str, d.numbers))}: "
        + (names[d.verb] + d.text if d.verb in names else d.verb)
        for d in decisions
    ]
    thinking = " ".join(d.text for d in decisions if d.text)
    ending = ["=== PRUNED ANSWER ===", "UNCHANGED"] if _asks_for_answer(prompt) else []
    return "\n".join([*lines, "", "=== PRUNED THINKING ===", thinking, *ending])


def _prune_as_spans(prompt: str) -> str:
    steps = re.findall(r"^\[(\d+)\] (?:\([A-Z][a-z ]+\) )?(.*)$", read_tag(prompt, "steps"), re.MULTILINE)
    lines = [
        f"{'-'.join(map(str, d.numbers))} {d.verb}" + (f": {d.text}" if d.verb in ("REWRITE", "MERGE") else "")
        for d in _decide([(int(number), text) for number, text in steps])
    ]
    return "\n".join([*lines, *(["ANSWER UNCHANGED"] if _asks_for_answer(prompt) else [])])


def count_tokens(text: str) -> int:
    """A stand-in tokenizer: words and signs."""
    return len(re.findall(r"\w{1,6}|[^\w\s]", text))


Turn = Callable[[str], str] | tuple[str, FinishReason] | None
"""What to do to the competent reply: change it, say something else and finish so, or nothing."""


@dataclass
class CompetentClient:
    """A ChatClient. script: what happens to the first replies, one entry each. limit: output tokens of a reply."""

    script: Iterable[Turn] = ()
    limit: int = 4096
    model: str = "competent-1"
    requests: list[list[Message]] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._turns = iter(self.script)

    async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:
        self.requests.append(list(messages))
        text = answer([(message.role, message.content) for message in messages])
        turn, finish = next(self._turns, None), "stop"
        if isinstance(turn, tuple):
            text, finish = turn
        elif turn:
            text = turn(text)
        if count_tokens(text) > self.limit:
            text, finish = text[: 2 * self.limit], "length"
        read = sum(count_tokens(message.content) for message in messages)
        return Reply(text, finish, Usage(calls=1, input_tokens=read, output_tokens=count_tokens(text), cost_usd=0.25))

    async def close(self) -> None:
        self.closed = True
