"""The same clause without its padding.

"Hmm, okay, so I think that 5 times 8 is indeed 40, right?" -> "So 5 times 8 is 40."
"""

import re

from drp.teachers.ruleset import cues
from drp.teachers.ruleset.kinds import strip_interjections
from drp.teachers.ruleset.quantities import find_numerals, find_quantities

_ASIDE = re.compile(
    r"(?<=\w)\s\((?![^()]{0,120}(?:[\d=+*/\\$^!]| - ))(?=[^()]{0,60}[a-zA-Z]{3})[^()]{3,120}\)(?![!^*/(])"
)
_SELF_TALK = r"^(?:let me|let's|I'll|I will|I need to|I should) (?:just )?"
_WHAT = r"(?:that|this|it|them|those|these|the (?:addition|subtraction|multiplication|division|calculation|math))"
_NUMBER_WORK = (
    r"(?:calculat\w+|comput\w+|do|work out|see|check|solve|add|figure|multiply|subtract|divide|write|jot|note|verify)"
)
_UNIT = r"(?: (?!and|is|are|or|by|to|from|of|then|equals|which|gives|so|times|minus|plus|multiplied|divided)[a-z]+)"
_FIGURE = r"\$?\d(?:[\d,]*\d)?(?:\.\d+)?%?"
_SIDE = rf"((?:^|(?<=[\s(])){_FIGURE}{_UNIT}{{0,4}})"
_WORKED_SIDE = rf"((?:[+*/×÷−-]) {_FIGURE}{_UNIT}{{0,4}})"
_EQUALS = (
    r"(?:which |this |that )?(?:equals|is equal to|gives|results in|resulting in|giving|equaling|which is|totaling|"
    r"which totals|yields)"
)
_ORDER = r"(?:first|next|then|now|finally|lastly|after that)"
_WORK = r"(?:add|subtract|multiply|divide|calculate|determine|find|compute|figure out)\b"
_FIXES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), new)
    for pattern, new in (
        (
            r", (?:right|correct|okay|you know|I think|I believe|I guess|if I'm not mistaken|of course)(?=[?.,!]\s*$)",
            "",
        ),
        (r"\bis (?:indeed|actually|simply|just|basically|essentially) (?=\S)", "is "),
        (
            rf"{_SELF_TALK}{_NUMBER_WORK} {_WHAT}(?: (?:out|down|up|together|in my head|addition|division|"
            rf"multiplication|subtraction))*[:.,]\s*",
            "",
        ),
        (r", (?:which|and that) means (?:that )?", ", so "),
        (r"^(?:that means|this means|which means|meaning)(?: that)?,? ", "so "),
        (r"\bin order to ", "to "),
        (r", (?:which (?:results in|gives us|gives me)|resulting in|giving us|giving me) ", ", giving "),
        (r"([+*/×÷−-] \$?[\d.,]*\d(?: [a-z]{1,12}){0,2}), (?:which|that|this) (?:equals|gives|is) (?=\$?\d)", r"\1 = "),
        (r" step by step(?=[.,:])", ""),
        (r"\bthe fact that\b", "that"),
        (r"^(?:that is|that's|that would be|this would be),\s+", ""),
        (r"\bto find out (?=how)", "to find "),
        (
            r"\bto (find|determine|calculate) ([^,.:]{3,100}), I(?:'ll| will| can| need to| must| have to)? "
            r"(?:add|subtract|multiply|divide|sum|combine|take|use)\b[^.:=]{0,120}:(?=\s)",
            r"to \1 \2:",
        ),
        (
            r"\bI(?:'ll| will| can| need to| must| have to)? (?:add|subtract|multiply|divide|sum|combine|"
            r"take)\b[^.:=,]{0,120} to (find|determine|calculate|get) "
            r"([^.:,]{3,100}):(?=\s)",
            r"to \1 \2:",
        ),
        (r"\bI (?:add|subtract|multiply|divide)(?: (?:them|these|those|the numbers))? to get (?=\$?\d)", ""),
        (rf"{_SIDE} multiplied by (?=\$?\d)", r"\1 × "),
        (rf"{_SIDE} divided by (?=\$?\d)", r"\1 ÷ "),
        (rf"{_SIDE} plus (?=\$?\d)", r"\1 + "),
        (rf"{_SIDE} minus (?=\$?\d)", r"\1 - "),
        (rf"{_WORKED_SIDE},? {_EQUALS}(?: us| me)?(?: a total of)? (?=\$?\d)", r"\1 = "),
        (r"\bresult(?:s|ing) in a (?:total|result) of ", "giving "),
        (r"\bgives (?:me |us )?a (?:total|result) of ", "gives "),
        (r"\bis calculated as(?: follows)?:? (?=\$?\d)", "is "),
        (r"\b(?:is calculated|can be calculated|is found) by [^,.:=\d]{3,120}: (?=\$?\d)", "is "),
        (r"\bI can (?:calculate|find|determine) ([^,.:=]{3,80}) as (?=\$?\d)", r"\1 is "),
        (r"\b(?:I recognize|I note|I know|I see) that ", ""),
        (r"\bI (?:multiply|divide|add|subtract) [^,.:=\d]{3,100}: (?=\$?\d)", ""),
        (rf"^({_ORDER},? )I(?:'ll| will| can| need to| must| have to) (?={_WORK})", r"\1"),
        (rf"(^|, |, so |^so |^therefore, )I(?:'ll| will| can) (?={_WORK})", r"\1"),
        (r"((?:^|, |, so |^so |(?:first|next|then|finally),? ))I (?=(?:multiply|add|subtract|divide) )", r"\1"),
        (r"\bwhich is given as\b", "which is"),
        (r"^(?:additionally|furthermore|moreover),? ", ""),
        (rf"\b({_WORK}) the total (?:number|amount) of ", r"\1 the total "),
        (r"\bplus (?=\$?\d)", "+ "),
        (r"(?<=[a-z] )equals (?=\$?\d)", "= "),
        (r", = ", " = "),
        (r" by (?:adding|multiplying|subtracting|dividing|summing)\b[^.:=\d]{3,120}:(?=\s\$?\d)", ":"),
    )
)
_LEADS = re.compile(r"(?:first|next|then|finally|now|similarly|therefore|but)\b[,\s]*", re.IGNORECASE)
_OPENING = re.compile(r"(okay|alright), so\b", re.IGNORECASE)
_TRAILING_QUESTION = re.compile(r"\?\s*$")
_DANGLING = " \t\n,;–—-"
_ENDED = re.compile(r"[.?!:][\"'”’)*]*$|\\\]$|\$\$$|\*\*$|\}$|\|$")
_LIST_NUMBER = re.compile(r"^\d{1,2}[.)]\s+")
_SUBORDINATE = re.compile(r"(?:since|because|given that|as) (?=[^,]{3,200}, )", re.IGNORECASE)
_MAIN_CLAUSE = re.compile(r"(?!(?:and|or|but|which|who|so|then|while)\b)[A-Za-z$\d]")
_MANNER = re.compile(
    r"(?:adding|subtracting|multiplying|dividing|combining|summing|calculating)\b[^,.:=\d]{3,140}, ", re.IGNORECASE
)
_WRITTEN_OUT = re.compile(
    r"\d[^.,;]{0,40}[+*/×÷−x-][^.;]{0,60}(?:=|equals)|(?:times|plus|minus|multiplied|divided)\b[^.;]{0,60}\d"
)
_OUTCOME = re.compile(r"=|\b(?:equals?|is|are|gives?|giving|resulting|totaling)\b")
_LOWERABLE = re.compile(
    r"(?:The|This|That|There|These|Those|It|In|If|He|She|They|We|You|Each|Since|For|To|At|After|Before|When|"
    r"Adding|Multiplying|"
    r"Dividing|Subtracting|A|An|Both|Let|My|Our|His|Her|Their|On|By|From|With|Using|Substituting|Then|First|"
    r"Calculating|Half|"
    r"Subtract|Add|Multiply|Divide|Given|According|Of|As|Combining)\b"
)


def shorten(text: str, *, lead: str = "") -> str:
    """A clause without interjections, empty phrases and asides; its white space at both ends is off.

    lead: what it has to begin with, such as the "Okay, so " with which the student opens.
    """
    body = text.strip()
    core = strip_interjections(body)
    core = _drop_manner(core)
    core = _drop_premise(_LIST_NUMBER.sub("", cues.RECOLLECTION.sub("", core, count=1)))
    core = compress(core)
    core = _TRAILING_QUESTION.sub(".", _ASIDE.sub("", core).strip())
    if not re.search(r"\w", core):
        return ""
    if core.count('"') % 2:
        core = core.replace('"', "")
    return join_lead(lead or _keep_connective(body), core)


def compress(text: str) -> str:
    """A clause with its empty phrases replaced by the shorter ones that say the same."""
    for pattern, new in _FIXES:
        text = pattern.sub(new, text)
    return text


def _drop_manner(core: str) -> str:
    """Without a leading "Adding these, " that names no number, before a sum that is written out."""
    match = _MANNER.match(core)
    if match is None or not _WRITTEN_OUT.search(core[match.end() :]) or not _MAIN_CLAUSE.match(core[match.end() :]):
        return core
    return core[match.end() :]


def _drop_premise(core: str) -> str:
    """Without a leading "Since ..., " whose numbers the deduction names itself."""
    if _SUBORDINATE.match(core) is None:
        return core
    for comma in re.finditer(r", ", core[:400]):
        premise, deduction = core[: comma.start()], core[comma.end() :]
        if not _MAIN_CLAUSE.match(deduction):
            continue
        repeated = find_numerals(premise) and find_quantities(premise) <= find_quantities(deduction)
        return deduction if repeated and _OUTCOME.search(deduction) else core
    return core


def find_opening(text: str) -> str:
    """The student's opening words ("Okay, so "), or nothing."""
    match = _OPENING.match(text.strip())
    return match.group() + " " if match else ""


def join_lead(lead: str, core: str) -> str:
    """Put a connective before a clause, or capitalise the clause where there is none."""
    if not core:
        return ""
    return lead + lower_first(re.sub(r"^so,? ", "", core, flags=re.IGNORECASE)) if lead else raise_first(core)


def raise_first(text: str) -> str:
    """With a capital at the start of prose; formulas and variables stay as they are."""
    return text[0].upper() + text[1:] if re.match(r"[a-z]{2,}|a\s|i\b", text) else text


def lower_first(text: str) -> str:
    """With a small letter at the start of prose; names can't be told from words, so only common openers change."""
    return text[0].lower() + text[1:] if _LOWERABLE.match(text) else text


def end_sentence(text: str) -> str:
    """With a full stop where a clause was cut off from what followed; formulas and lists stay."""
    body = text.rstrip(_DANGLING)
    return body if not body or _ENDED.search(body) else body + "."


def _keep_connective(body: str) -> str:
    """A single connective that opened the clause, or the "so" among several, which ties a deduction to its ground."""
    core = strip_interjections(body)
    stripped = body[: len(body) - len(core)]
    if re.search(r"\bso\b", stripped, re.IGNORECASE):
        return "So, " if re.search(r"\bso,", stripped, re.IGNORECASE) else "So "
    if re.fullmatch(r"(?:then|now|but|and)\W*", stripped, re.IGNORECASE):
        return raise_first(stripped.rstrip(" ,")) + ", " if stripped.lower().startswith(("then", "now")) else ""
    return ""
