r"""Final answers, found in text: the gold one of a data set, the predicted one of a response.

    extract_gold("She makes 9 * 2 = $18.\n#### 18")                       "18"
    extract_answer("So it is 3 + 4.\n\n**Final Answer:** \boxed{7}")      "7"
    extract_answer("The answer is 1,200 dollars.")                          "1,200 dollars"

What is found stands as it was written; `drp.grading` compares. A response may say its answer in any usual manner (a
box, `####`, "the answer is", bold, a last formula or number), since a judge that knows one manner favours the model
trained in it. Everything is linear in the length of the text.
"""

import re
from collections import deque
from collections.abc import Iterator

MAX_ANSWER_CHARS = 1000
"""What is longer is no final answer."""
_OPENING, _CLOSING = "<think>", "</think>"
_TAIL_CHARS = 100_000
_GOLD_CHARS = 300

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s+([^\s{}$\\]+)")
_BOX_JOINT = re.compile(
    r"(?:\\q?quad|[\s$.;\\()\[\]]){0,12}(?:,|,?\s*(?:and|or)\b|\\text\{\s*(?:and|or)\s*\})"
    r"(?:\\q?quad|[\s$\\()\[\]]){0,12}"
)
_HASHES = re.compile(r"####[^\S\n]*([^\n]+)")
_CUE = re.compile(
    r"\banswer\b(?:[^\S\n]+(?:to|for|of|in)\b[^.:=\n]{0,80}?)?[\s*_]{0,8}"
    r"(?:\b(?:is|are|equals|would be)\b|[:=])[\s*_:]{0,8}"
    r"|^[#*_ ]{0,8}(?:final )?answer(?:[*_: ]{0,8}\n|\*\*)[\s*_:]{0,8}",
    re.IGNORECASE | re.MULTILINE,
)
_HEDGE = re.compile(
    r"(?:approximately|about|exactly|simply|just|therefore|thus|equal to|option|choice)\s+", re.IGNORECASE
)
_SENTENCE_END = re.compile(
    r"\n|\.(?=\s|\*|$)|[!?](?=\s|$)|,?\s+\b(?:because|since|which|so|given|as required|I hope)\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"[A-Z][a-z]*\s+[a-z]{2,}\s")
_DISPLAY = re.compile(r"\\\[(.{1,2000}?)\\\]|\$\$(.{1,2000}?)\$\$", re.DOTALL)
_MATH = re.compile(
    r"\\\[(.{1,2000}?)\\\]|\$\$(.{1,2000}?)\$\$|\\\((.{1,1000}?)\\\)|(?<![\\\d])\$([^$\n]{1,1000})(?<!\\)\$", re.DOTALL
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_NUMBER = re.compile(
    r"(?<![\w.,\\])(?:(?<![\d)}])-\s?)?(?:\\?[$€£¥]\s?)?(?:\\[dt]?frac\{-?\d+\}\{\d+\}|"
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:/\d+)?|\.\d+)(?:\s?\\?%)?"
)
_BARE_MATH_LINE = re.compile(r"(?:\\[a-zA-Z]+(?![a-zA-Z])|[a-zA-Z]{1,2}(?![a-zA-Z])|[^a-zA-Z\\\n])+")
_PLAIN_NUMBER = re.compile(r"-?\s*\$?\s*-?[\d,]*\d(?:\.\d+)?")
_NAME_IN_WORDS = re.compile(r"[^\d+*/^]*(?:\\(?:text|mbox|mathrm)\b|(?<![\\a-zA-Z])[a-zA-Z]{3})[^\d+*/^]*")
_EQUALS = re.compile(r"\\.|[{}]|(?<![<>!:])=", re.DOTALL)
_LIST_JOINT = re.compile(r",\s*[a-zA-Z][\w{}]*\s*$")
_INTEGER_FLOAT = re.compile(r"(-?\d+)\.0+")


def extract_gold(text: str) -> str | None:
    """The gold answer of a data set's answer column, which may hold the answer alone or a worked solution.

    After the last `####` (GSM8K; without "$" and thousands commas), else the last box, else after "the answer is", else
    the text itself where it is short. 27.0, as AMC's answers come, is "27". None: no answer was found.
    """
    hashed = _last(_HASHES, text)
    if hashed:
        number = _PLAIN_NUMBER.fullmatch(hashed)
        return _clean_gold(re.sub(r"[,$\s]", "", hashed) if number else hashed)
    boxed = _boxed_answer(text)
    if boxed:
        return _clean_gold(boxed)
    if len(text.strip()) <= _GOLD_CHARS and not _CUE.search(text):
        return _clean_gold(text)
    return _clean_gold(_cued_answer(text[-_TAIL_CHARS:]) or "")


def extract_answer(summary: str) -> str | None:
    """The final answer in the text after `</think>`, as it is written there; None where there is none.

    In this order: the last box (neighbouring boxes together), `#### X`, "the answer is X", then whatever stands last of
    a formula, a bold phrase and a number. Thinking that was opened again and never closed is not looked at.
    """
    text = _without_thinking(summary)[-_TAIL_CHARS:]
    finders = (_boxed_answer, lambda t: _last(_HASHES, t), _cued_answer, _last_expression)
    for find in finders:
        answer = find(text)
        if answer:
            return answer if len(answer) <= MAX_ANSWER_CHARS else None
    return None


def _clean_gold(text: str) -> str | None:
    text = _strip_delimiters(text)
    number = _INTEGER_FLOAT.fullmatch(text)
    return number[1] if number else text or None


def _without_thinking(text: str) -> str:
    first, *reopened = text.split(_OPENING)
    return "".join([first, *(piece.partition(_CLOSING)[2] for piece in reopened)]).replace(_CLOSING, "\n")


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = deque(pattern.finditer(text), maxlen=1)
    return _strip_delimiters(found[0][1]) if found else None


def _boxed_answer(text: str) -> str | None:
    boxes = [box for box in _boxes(text) if box[2]]
    if not boxes:
        return _last(_BARE_BOX, text)
    answers = [boxes[-1][2]]
    for left, right in zip(reversed(boxes[:-1]), reversed(boxes), strict=False):
        if not _BOX_JOINT.fullmatch(text[left[1] : right[0]]):
            break
        answers.insert(0, left[2])
    percent = re.match(r"\s?\\?%", text[boxes[-1][1] : boxes[-1][1] + 3])
    return ", ".join(dict.fromkeys(answers)) + (r"\%" if percent else "")


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of every closed outermost box, in one pass; a box that was cut off is none."""
    boxes: list[tuple[int, int, str]] = []
    open_braces: list[tuple[int, int] | None] = []
    for token in _BOX_TOKEN.finditer(text):
        if token[0] == "{":
            open_braces.append(None)
        elif token[0].endswith("{") and len(token[0]) > 2:
            open_braces.append((token.start(), token.end()))
        elif token[0] == "}" and open_braces and (opened := open_braces.pop()):
            while boxes and boxes[-1][0] > opened[0]:
                boxes.pop()
            # A content too long for an answer is not copied: nested boxes would make that quadratic.
            end = min(token.start(), opened[1] + MAX_ANSWER_CHARS + 1)
            boxes.append((opened[0], token.end(), text[opened[1] : end].strip()))
    return boxes


def _cued_answer(text: str) -> str | None:
    """After the last "answer is": one that holds mathematics before one of words, which may be small talk."""
    cues = deque(_CUE.finditer(text), maxlen=100)
    phrases = [phrase for cue in cues if (phrase := _phrase_at(text, cue.end()))]
    mathematical = [phrase for phrase in phrases if _is_mathematical(phrase)]
    wordy = [phrase for phrase in phrases if len(phrase.split()) <= 4]
    phrase = next(reversed(mathematical or wordy), None)
    # "Answer: Jane has 3 apples left": what such a sentence says is found as in any other.
    return max(_candidates(phrase), default=(0, 0, phrase))[2] if phrase and _SENTENCE.match(phrase) else phrase


def _phrase_at(text: str, start: int) -> str | None:
    window = text[start : start + 2 * MAX_ANSWER_CHARS]
    display = _DISPLAY.match(window)
    if display:
        return _right_side(display[1] or display[2])
    hedge = _HEDGE.match(window)
    window = window[hedge.end() :] if hedge else window
    end = _SENTENCE_END.search(window)
    phrase = _strip_delimiters(window[: end.start()] if end else window)
    return phrase if phrase and len(phrase) <= 200 else None


def _is_mathematical(phrase: str) -> bool:
    return bool(re.search(r"\d|\\[a-zA-Z]|\^", phrase)) or bool(re.fullmatch(r"\(?[A-Za-z]\)?", phrase))


def _last_expression(text: str) -> str | None:
    """No answer is marked: a last line that is a formula alone, else what ends last of formula, bold and number."""
    line = text.rstrip().rpartition("\n")[2].strip()
    if 0 < len(line) <= 200 and _is_mathematical(line) and _BARE_MATH_LINE.fullmatch(line) and "$" not in line:
        return _right_side(line)
    if len(text.strip()) <= 40 and text.strip() and len(text.split()) <= 3 and not re.search(r"\d", text):
        return _strip_delimiters(text) or None
    return max(_candidates(text[-5 * MAX_ANSWER_CHARS :]), default=(0, 0, None))[2]


def _candidates(text: str) -> Iterator[tuple[int, int, str]]:
    """(end, weight, answer); what lies inside a formula or a bold phrase gives way to the whole of it."""
    spans: list[tuple[int, int]] = []
    last_line = text.rstrip().rfind("\n")
    for weight, pattern in ((3, _BOLD), (2, _MATH), (1, _NUMBER)):
        found = None
        for match in pattern.finditer(text):
            if pattern is not _BOLD or _is_answer_in_bold(match[1], in_last_line=match.start() > last_line):
                found = match
        if found and not any(start <= found.start() < end for start, end in spans):
            spans.append(found.span())
            content = next((group for group in found.groups() if group), found[0])
            answer = _right_side(content) if pattern is _MATH else _strip_delimiters(content)
            yield found.end(), weight, answer


def _is_answer_in_bold(content: str, *, in_last_line: bool) -> bool:
    content = content.strip()
    if content.endswith(":"):
        return False
    return bool(re.match(r"[-+\d$€£\\(\[{.]", content)) or (in_last_line and len(content.split()) <= 3)


def _right_side(formula: str) -> str:
    """What a chain of equations ends in, and the value of a quantity; another equation may be the answer itself."""
    parts = _split_sides(formula)
    if any(_LIST_JOINT.search(part) for part in parts[1:-1]):
        return _strip_delimiters(formula)  # p = 1, q = 2
    is_value = len(parts) > 2 or (len(parts) == 2 and _NAME_IN_WORDS.fullmatch(parts[0].strip()))
    return _strip_delimiters(parts[-1] if is_value and parts[-1].strip() else formula)


def _split_sides(formula: str) -> list[str]:
    """What stands between the equals signs, those within braces (the bounds of a sum) left alone."""
    sides, start, depth = [], 0, 0
    for token in _EQUALS.finditer(formula):
        if token[0] == "=" and depth == 0:
            sides.append(formula[start : token.start()])
            start = token.end()
        depth += {"{": 1, "}": -1}.get(token[0], 0)
    return [*sides, formula[start:]]


def _strip_delimiters(text: str) -> str:
    """Without surrounding Markdown, math delimiters and full stops."""
    before = None
    while before != text:
        before = text
        text = text.strip().strip("*`").rstrip(".,;:").strip()
        for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
                text = inner
    return text
