"""The phrases by which a student hedges, checks, turns back and concludes, as compiled patterns.

They are matched against one clause. Every quantifier is bounded or followed by something that it cannot itself match.
"""

import re


def _compile(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{a})" for a in alternatives), re.IGNORECASE)


LEADING_INTERJECTIONS = re.compile(
    r"(?:(?:hm+|uh+|um+|okay|ok|alright|all right|wait|oh|ah|aha|yeah|yep|yes|so(?! that)|now(?! that)|but|and|"
    r"then|also|"
    r"hold on(?: a (?:second|minute|moment))?|a (?:second|minute|moment)|hang on|actually|"
    r"(?:well|right|sorry|look|again|let me (?:see|think)|let's see)(?=[.,!:;]|$))\b['’]?(?!['’-])[,.!:;?\s…—–]*+)++",
    re.IGNORECASE,
)
"""At the head of a clause; may be the whole of it."""

RETRACTION = _compile(
    r"\bwait,? no\b",
    r"\bno,? wait\b",
    r"\b(?:that|this|it)(?:'s| is|'d be| would be| can't be| cannot be| isn't|'s definitely) (?:not |quite )*"
    r"(?:right|wrong|incorrect|correct|possible|a mistake)\b",
    r"\b(?:that|this) (?:can't|cannot|couldn't) be\b",
    r"\bscratch that\b",
    r"\bI (?:think I )?(?:made|must have made) (?:a|an|some) (?:mistake|error)\b",
    r"\b(?:that|this) (?:doesn't|does not) (?:make sense|seem right|work|add up)\b",
    r"\bactually,? no\b",
    r"\bI (?:misread|miscalculated|misinterpreted)\b",
    r"\bnot quite right\b",
)
"""Takes back what was said before it; `AFFIRMATION` is to be ruled out first ("that's right")."""

AFFIRMATION = _compile(
    r"\b(?:that|this|it|which|everything|all|answer)(?:'s| is| all)? (?:indeed |definitely |also |probably )?"
    r"(?:seems? |looks? |sounds? |feels? )?(?:all |pretty |quite |about |to be )*"
    r"(?:right|correct|good|solid|straightforward|consistent|fine|reasonable|clear|plausible|okay|simple)\b",
    r"(?<!n't )(?<!not )\bmakes? (?:perfect )?sense\b",
    r"\b(?:checks? out|adds up|matches|match(?:es)? up|holds (?:true|up))\b",
    r"^(?:correct|right|exactly|perfect|great|good|got (?:it|that)|yes|yep|yeah|same (?:result|answer|thing|"
    r"as before))\b",
    r"\bsame (?:result|answer|thing)\b",
    r"\bI(?:'m| am| feel| feel pretty| am pretty|'m pretty|'m fairly|'m quite) (?:confident|sure|certain)\b",
    r"\bI (?:think|believe|guess) (?:that's|that is|this is|I'm|I've|I did|everything)\b",
    r"\bI (?:don't|do not|can't|cannot) (?:see|think|find|spot|believe) (?:any|I|there|of any)\b",
    r"\b(?:gives|give) me (?:more |some |extra )?confidence\b",
    r"\bmore confident\b",
    r"\bconfirms?\b",
)

VERIFICATION = _compile(
    r"\bdouble[- ]?check",
    r"\bre-?check",
    r"\b(?:let me|let's|I'll|I can|I should|I could|to) (?:just )?(?:quickly )?(?:verify|check|confirm|"
    r"re-?calculate|recompute)\b",
    r"\bmak(?:e|ing) sure\b",
    r"\bto be (?:sure|thorough|certain|safe|extra)\b",
    r"\bto (?:recap|summari[sz]e|confirm|verify)\b",
    r"\b(?:go|going|went) (?:through|over) (?:the|this|that|it|my|each|these|everything)\b.{0,40}\bagain\b",
    r"\b(?:go|going) (?:over|through) .{0,40}\bonce more\b",
    r"\bthink (?:about (?:it|this|that) )?again\b",
    r"\b(?:let me|I should|I'll) (?:re-?read|read (?:it|the|this)|see if (?:I|this|that|there))\b",
    r"\bif (?:I|we) (?:add|check|plug|multiply|subtract|divide) .{0,60}\b(?:back|again)\b",
    r"\bas a (?:sanity )?check\b",
    r"\b(?:missed|missing|overlook|skip(?:ped)?) (?:anything|something|any)\b",
    r"\bany (?:mistakes?|errors?|other)\b",
    r"\blet me (?:just )?(?:reconsider|re-?examine|re-?evaluate|review|rethink)\b",
)

ALTERNATIVE = _compile(
    r"^alternatively\b",
    r"\banother (?:way|approach|method|thought|angle|possibility|idea|perspective)\b",
    r"\b(?:a|some) different (?:way|approach|method|angle)\b",
    r"^(?:or )?maybe (?:I|there|it|the|we)\b",
    r"^or (?:is|are|does|maybe|perhaps|am)\b",
    r"^perhaps\b",
    r"\b(?:wonder|wondering) if\b",
)

HEDGE = _compile(
    r"\bI(?:'m| am) (?:not (?:entirely |quite |really |too |completely |100% )?(?:sure|certain)|a bit|confus|"
    r"stuck|getting|overthink|overcomplicat)",
    r"\b(?:confusing|tricky|unclear|ambiguous|interesting|a bit (?:fuzzy|rusty|odd|strange|weird))\b",
    r"\bis that (?:right|correct|all|it|so)\b",
    r"\bam I (?:sure|right|missing|doing)\b",
    r"\bI (?:might|may) (?:be|have)\b",
    r"\b(?:don't|didn't) (?:know|remember|recall)\b",
    r"\bshould I\b",
    r"\bdoes that make sense\b",
    r"\blet me (?:just )?(?:think|see|try|parse|visuali[sz]e|picture|imagine|break|process|understand|recall|"
    r"wrap|look|read|slow|clarify|try to)\b",
    r"\bI (?:think|guess) I (?:can|need|should|have|see|got|get|understand)\b",
    r"\bI (?:remember|recall) (?:something|that there|learning)\b",
    r"\bI(?:'ll| will) present\b",
    r"\bone step at a time\b|\blet me not rush\b|^(?:so )?far,? so good\b|\b(?:doesn't|does not) (?:look|seem) too\b",
    r"^let me (?:redo|calculate) (?:it|this|that)(?: again)?\W*$",
    r"\bgo over the facts\b|\bhere(?:'s| is) what (?:I|we) know\b|\bsays the following\b",
    r"^(?:let me|let's|I'll|I will|I should|I can|I need to) (?:just )?(?:write|jot|note|put|set|lay|list|do|"
    r"calculate|compute|work|"
    r"add|count|solve|figure|start|sum|multiply|subtract|divide|plug|go|proceed)\b(?: (?:that|this|it|them|"
    r"those|these|all|the|addition|"
    r"subtraction|multiplication|division|calculation|math|numbers|information|down|out|up|together|again|in|"
    r"first|next))*\W*$",
)

GOAL = _compile(
    r"\b(?:I|we) (?:just |still |also )?(?:need|have|want|am asked|are asked|am supposed|'m asked|'m trying|"
    r"must)(?: to)? "
    r"(?:try to )?(?:find|figure out|determine|calculate|compute|solve|simplify|evaluate|factor|express|convert|"
    r"identify|count|prove|show|work out|know)\b",
    r"\bthe (?:question|problem) (?:is|asks?|is asking|wants|here is|says to)\b",
    r"\b(?:I|we)(?:'ve| have) (?:got )?(?:this|a|the) (?:problem|question)\b",
    r"\b(?:I'm|we're|I am|we are) (?:asked|looking|trying|supposed|tasked)\b",
    r"\bthe goal is\b",
    r"^(?:let me|let's) (?:try to )?(?:figure out|find out|determine) (?:how|what)\b",
)

CONCLUSION = _compile(
    r"\bfinal answer\b",
    r"\bthe (?:correct |right )?answer (?:is|should be|must be|would be|to)\b",
    r"\\boxed\b",
    r"^(?:so,? |and )?(?:therefore|thus|hence|in conclusion|in total|altogether|overall)\b",
    r"^so,? I (?:get|got|have|end up with)\b",
)

INTENTION = _compile(
    r"^(?:first|next|then|finally|now|lastly|after that|second|third|similarly|also|so|to start|starting)?,?\s*"
    r"(?:to (?:find|calculate|determine|get|figure|compute|solve|do|obtain|simplify|convert|start|begin|add|"
    r"know)\b.{0,160}?,\s*)?"
    r"(?:I|we|let me|let's|let us)(?:'ll| will| can| should| need to| have to| must| want to| could| just| would)*\s+"
    r"(?:just |then |now |simply |also |first |start by |begin by |try to |move on to |go on to )*"
    r"(?:find|figur|calculat|comput|determin|add|subtract|multiply|divide|set|solv|write|identif|convert|combin|"
    r"do\b|use|start|sum|count|work|"
    r"look|consider|need|rewrit|express|simplif|break|list|tackle|apply|substitut|take|plug|expand|isolat|evaluat|"
    r"move|see how|proceed|present)",
)

RECOLLECTION = re.compile(
    r"^(?:I (?:remember|recall|know|think|believe|see|recogni[sz]e|understand|realize|notice|guess|suppose|"
    r"can see|note)"
    r"|we know|it says|the problem (?:says|states|mentions|tells us)|it's given|"
    r"according to the problem)(?: that)?,?\s+",
    re.IGNORECASE,
)
