"""A competent teacher that makes one kind of mistake in a share of its replies, decided by the conversation alone."""

import hashlib
import random
import re
from collections.abc import Callable, Mapping

from tests.loopback.server import Answer
from tests.teachers import competent

Mistake = Callable[[str, random.Random], str]

_ENTRY = re.compile(r"^(?=(?:Steps? )?\d+(?:-\d+)?[ :|])", re.MULTILINE)


def _split(reply: str) -> list[str]:
    """The reply's entries (a step, a range, an action), the last with all that follows it."""
    return list(filter(None, _ENTRY.split(reply)))


def change_words(reply: str, draw: random.Random) -> str:
    words = list(re.finditer(r"\b[a-z]{3,}\b", reply))
    word = draw.choice(words)
    return f"{reply[: word.start()]}{word[0][::-1]}{reply[word.end() :]}"


def skip_step(reply: str, draw: random.Random) -> str:
    entries = _split(reply)
    del entries[draw.randrange(len(entries))]
    return "".join(entries) or reply


def swap_steps(reply: str, draw: random.Random) -> str:
    entries = _split(reply)
    place = draw.randrange(len(entries))
    entries[place : place + 2] = entries[place : place + 2][::-1]
    return "".join(entries)


def repeat_step(reply: str, draw: random.Random) -> str:
    entries = _split(reply)
    place = draw.randrange(len(entries))
    return "".join([*entries[: place + 1], *entries[place:]])


def invent_number(reply: str, draw: random.Random) -> str:
    number = draw.choice(list(re.finditer(r"\d+", reply)))
    return f"{reply[: number.start()]}{number[0]}77{reply[number.end() :]}"


def change_answer(reply: str, draw: random.Random) -> str:
    """A number of the reasoning's own, so that only grading can tell."""
    wrong = draw.choice(re.findall(r"\d{3,}", reply) or ["200"])
    return re.sub(r"UNCHANGED\s*\Z", rf"So the answer is \\boxed{{0{wrong}1}}.", reply)


def lose_marker(reply: str, draw: random.Random) -> str:
    markers = list(re.finditer(r"^(?:=== .* ===|Steps? [\d-]+:|Skill:|ANSWER|\d+(?:-\d+)? \|)", reply, re.MULTILINE))
    marker = draw.choice(markers) if markers else re.match("", reply)
    assert marker
    return reply[: marker.start()] + reply[marker.end() :]


def add_prose(reply: str, draw: random.Random) -> str:
    begin = draw.choice(["Sure! Here is what you asked for:\n\n", "Let me think.\n", ""])
    return f"{begin}{reply}\n\nLet me know if you need 24 more of these!"


def spoil_skill(reply: str, draw: random.Random) -> str:
    lines = list(re.finditer(r"(Skill: |\d \| ).*", reply))
    if not lines:
        return reply
    line = draw.choice(lines)
    return reply[: line.start()] + line[1] + draw.choice(["", "a very long name " * 12]) + reply[line.end() :]


ALL: tuple[Mistake, ...] = (
    change_words,
    skip_step,
    swap_steps,
    repeat_step,
    invent_number,
    change_answer,
    lose_marker,
    add_prose,
    spoil_skill,
)


def make_mistakes(shares: Mapping[Mistake, float], answer: Answer = competent.answer) -> Answer:
    """Each mistake with its share of the replies."""

    def reply(messages: list[tuple[str, str]]) -> str:
        text = answer(messages)
        draw = random.Random(hashlib.sha256(repr(messages).encode()).digest())
        [mistake] = draw.choices([*shares, None], [*shares.values(), 1 - sum(shares.values())])
        return mistake(text, draw) if mistake else text

    return reply
