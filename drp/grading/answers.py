r"""Find the final answer in a text: the gold answer in a data set's column, the predicted one in a response.

    extract_gold("She makes 9 * 2 = $18.\n#### 18")                       "18"
    extract_answer("So it is 3 + 4.\n\n**Final Answer:** \boxed{7}")      "7"
    extract_answer("The answer is 1,200 dollars.")                          "1,200 dollars"

The answer is returned as it is written in the text; `drp.grading.forms` normalises it. A response may state its answer
in any usual way (a box, `####`, "the answer is", bold, a last formula or number): a grader that accepts only one way
would favour the model trained to use it. All functions take time linear in the length of the text.
"""

import re
from collections import deque
from collections.abc import Iterator

MAX_ANSWER_CHARS = 1000
"""Longer texts are not taken for a final answer."""
_OPENING, _CLOSING = "<think>", "</think>"
_TAIL_CHARS = 100_000  # an answer is looked for in so many last characters of a response
_GOLD_CHARS = 300  # a gold column of at most so many characters may be the answer itself

# A box's beginning, a brace, or an escaped character, which skips escaped braces.
_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s+([^\s{}$\\]+)")
# What may stand between two boxes of one answer: "\boxed{1} and \boxed{2}".
_BOX_JOINT = re.compile(
    r"(?:\\q?quad|[\s$.;\\()\[\]]){0,12}(?:,|,?\s*(?:and|or)\b|\\text\{\s*(?:and|or)\s*\})"
    r"(?:\\q?quad|[\s$\\()\[\]]){0,12}"
)
_HASHES = re.compile(r"####[^\S\n]*([^\n]+)")
# "The answer to this is:", "**Final Answer:**", "### Answer" at the start of a line.
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
# The beginning of a sentence of words, such as "Jane has ".
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
# A line without words of three or more letters, such as "x = 2".
_BARE_MATH_LINE = re.compile(r"(?:\\[a-zA-Z]+(?![a-zA-Z])|[a-zA-Z]{1,2}(?![a-zA-Z])|[^a-zA-Z\\\n])+")
_PLAIN_NUMBER = re.compile(r"-?\s*\$?\s*-?[\d,]*\d(?:\.\d+)?")
# The left side of "speed = 3", a quantity named in words.
_NAME_IN_WORDS = re.compile(r"[^\d+*/^]*(?:\\(?:text|mbox|mathrm)\b|(?<![\\a-zA-Z])[a-zA-Z]{3})[^\d+*/^]*")
_EQUALS = re.compile(r"\\.|[{}]|(?<![<>!:])=", re.DOTALL)
# The end of "1, q " in "p = 1, q = 2".
_LIST_JOINT = re.compile(r",\s*[a-zA-Z][\w{}]*\s*$")
_INTEGER_FLOAT = re.compile(r"(-?\d+)\.0+")


def extract_gold(text: str) -> str | None:
    """The gold answer in a data set's answer column, which may be the answer alone or a worked solution.

    It is what follows the last `####` (GSM8K; without "$" and thousands commas), else the last box, else what follows
    "the answer is", else the whole text if it is short. 27.0, as in AMC's answers, becomes "27". None if there is none.
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
    """The final answer in the text after `</think>`, as it is written there; None if there is none.

    Looked for in this order: the last box (adjacent boxes together), `#### X`, "the answer is X", then whichever comes
    last of a formula, a bold phrase and a number. Text after another `<think>` that is never closed is ignored.
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
    """(start, end, content) of every outermost box that is closed, found in one pass."""
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
            # Content too long for an answer is not copied whole: with nested boxes that would take quadratic time.
            end = min(token.start(), opened[1] + MAX_ANSWER_CHARS + 1)
            boxes.append((opened[0], token.end(), text[opened[1] : end].strip()))
    return boxes


def _cued_answer(text: str) -> str | None:
    """What follows the last "answer is", preferring mathematics; words may be no answer ("the answer is clear")."""
    cues = deque(_CUE.finditer(text), maxlen=100)
    phrases = [phrase for cue in cues if (phrase := _phrase_at(text, cue.end()))]
    mathematical = [phrase for phrase in phrases if _is_mathematical(phrase)]
    wordy = [phrase for phrase in phrases if len(phrase.split()) <= 4]
    phrase = next(reversed(mathematical or wordy), None)
    # In a sentence such as "Answer: Jane has 3 apples left", the answer is searched for as in any other text.
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
    """For a text that marks no answer: a last line that is only a formula, else the last formula, bold or number."""
    line = text.rstrip().rpartition("\n")[2].strip()
    if 0 < len(line) <= 200 and _is_mathematical(line) and _BARE_MATH_LINE.fullmatch(line) and "$" not in line:
        return _right_side(line)
    if len(text.strip()) <= 40 and text.strip() and len(text.split()) <= 3 and not re.search(r"\d", text):
        return _strip_delimiters(text) or None
    return max(_candidates(text[-5 * MAX_ANSWER_CHARS :]), default=(0, 0, None))[2]


def _candidates(text: str) -> Iterator[tuple[int, int, str]]:
    """(end, weight, answer) of the last bold phrase, formula and number; one inside another is left out."""
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
    """The right side of a chain of equations or of `quantity = value`; other equations are returned whole."""
    parts = _split_sides(formula)
    if any(_LIST_JOINT.search(part) for part in parts[1:-1]):
        return _strip_delimiters(formula)  # p = 1, q = 2
    is_value = len(parts) > 2 or (len(parts) == 2 and _NAME_IN_WORDS.fullmatch(parts[0].strip()))
    return _strip_delimiters(parts[-1] if is_value and parts[-1].strip() else formula)


def _split_sides(formula: str) -> list[str]:
    """Split at the equals signs outside braces, so not at the bounds of a sum."""
    sides, start, depth = [], 0, 0
    for token in _EQUALS.finditer(formula):
        if token[0] == "=" and depth == 0:
            sides.append(formula[start : token.start()])
            start = token.end()
        depth += {"{": 1, "}": -1}.get(token[0], 0)
    return [*sides, formula[start:]]


def _strip_delimiters(text: str) -> str:
    """Remove surrounding Markdown, math delimiters and punctuation."""
    before = None
    while before != text:
        before = text
        text = text.strip().strip("*`").rstrip(".,;:").strip()
        for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
                text = inner
    return text
