"""Chains of thought in the manner of DeepSeek-R1's distilled students: right, and far longer than they need be.

A trace is paragraphs: the goal, then what the level of overthinking adds (restated facts, hedges, wrong starts taken
back, checks, the whole once more, backwards, doubts about the question), the steps, the conclusion. Goal, steps and
conclusion are always there; everything else comes with a probability proportional to one level drawn for each trace, so
that short traces are within what the student has seen. A statement that is wrong is taken back in the same paragraph by
a sentence that begins with "Wait".
"""

from __future__ import annotations

import random

from scripts.tiny.problems import OPERATIONS, Problem, Step

INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
NEEDED = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}

GOAL = [
    "Okay, so I need to find {goal}.",
    "Okay, so I need to figure out {goal}.",
    "Alright, so I need to find out {goal}.",
    "Okay, let me figure out {goal}.",
    "I need to determine {goal}.",
]
RESTATE = [
    "Let me read the problem again. {facts}",
    "The problem says the following. {facts}",
    "So, here is what I know. {facts}",
    "Let me write down what I know. {facts}",
    "First, let me go over the facts. {facts}",
]
HEDGE = [
    "Hmm, let me think about this step by step.",
    "Hmm, this seems straightforward, but I want to be careful.",
    "Let me break it down step by step.",
    "Hmm, I should take this one step at a time.",
    "Okay, that doesn't look too hard, but let me not rush.",
]
SHORT_STEP = [
    "{order} {a} {op} {b} = {r}, so {states}.",
    "{order} {reason}, so that's {a} {op} {b} = {r}.",
    "{order} I {need} to get {a} {op} {b} = {r}. So {states}.",
]
LONG_STEP = [
    "{order} I need to find {purpose}. {a} {op} {b} = {r}, so {states}.",
    "{order} I'll calculate {purpose}. {Reason}, so that's {a} {op} {b} = {r}.",
    "{order} {reason}, so {a} {op} {b} = {r}. That means {states}.",
]
ORDER = {
    "first": ["First,"],
    "middle": ["Next,", "Then,", "Now,", "After that,"],
    "last": ["Finally,", "Next,", "Now,"],
}
WRONG_START = [
    "Maybe I should {wrong} here, so {x} {wop} {y} = {wr}. Wait, no, that's not right. {Reason}, so I need to {need}.",
    "I could {wrong} the numbers and get {x} {wop} {y} = {wr}. Wait, that doesn't make sense, because {reason}.",
]
SLIP = [
    "So {x} {op} {y} = {bad}. Wait, that's not right. Let me calculate it again.",
    "That's {x} {op} {y} = {bad}. Wait, I made a mistake there. Let me redo it.",
]
CHECK = [
    "Let me double-check that: {eq}. Yes, that's correct.",
    "Wait, let me check that. {eq}, so that's right.",
    "Let me verify: {eq}. Okay, that matches.",
    "Just to make sure, {eq}. Yep, that's right.",
    "Hmm, {eq}, so that adds up.",
]
SMALL_HEDGE = [
    "Okay, that makes sense.",
    "So far, so good.",
    "Hmm, that seems reasonable.",
    "Alright, that seems right.",
]
CONCLUSION = ["So, {conclusion}.", "Therefore, {conclusion}.", "So in the end, {conclusion}."]
REVERIFY = [
    "Wait, let me double-check everything to make sure I didn't make a mistake. {all}. So the answer is {r}.",
    "But let me go through the steps again. {all}. Yes, I still get {r}.",
    "Let me go over the calculations once more. {all}. That gives {r} again.",
]
REVERSE = [
    "Alternatively, I can work backwards from {r}. {all}. That matches the problem, so {r} is correct.",
    "Alternatively, let me check it the other way around. {all}. Everything fits, so the answer is {r}.",
    "Another way to check is to go backwards. {all}. That agrees with the numbers in the problem.",
]
DOUBT = [
    "But wait, did I read the question correctly? It asks for {goal}. Yes, so {conclusion}.",
    "Wait, maybe I missed something. The question is {goal}, and I used every number. So {conclusion}.",
    "Hold on, is there anything else to consider? I need {goal}, and that is {r}. I don't think I missed anything.",
]
CLOSING = [
    "I don't think I made any mistakes here. So I'm confident that the answer is {r}.",
    "Yes, that seems right. I'm pretty sure the answer is {r}.",
    "I think that's solid. The answer should be {r}.",
    "Okay, that all adds up, so {r} must be correct.",
]
SUMMARY = "\n</think>\n\nThe answer is \\boxed{{{r}}}."


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def draw_level(rng: random.Random) -> float:
    """How much a trace overthinks: mostly much, sometimes hardly at all."""
    return rng.uniform(0.05, 0.4) if rng.random() < 0.22 else rng.uniform(0.4, 1.0)


def check_equation(rng: random.Random, step: Step) -> str:
    """The step's equation repeated, turned around, or inverted."""
    kind = rng.random()
    if kind < 0.5:
        return inverse(step)
    if kind < 0.75 and step.op in "+*":
        return f"{step.b} {step.op} {step.a} = {step.result}"
    return step.equation


def inverse(step: Step) -> str:
    return f"{step.result} {INVERSE[step.op]} {step.b} = {step.a}"


def wrong_start(rng: random.Random, step: Step) -> str:
    """A beginning that is taken back: the wrong operation, or a slip in the right one."""
    if rng.random() < 0.25:
        bad = max(1, step.result + rng.choice([-10, -2, -1, 1, 2, 10]))
        return "" if bad == step.result else rng.choice(SLIP).format(x=step.a, op=step.op, y=step.b, bad=bad)
    wop = rng.choice([op for op in "+-*" if op != step.op])
    result = OPERATIONS[wop](step.a, step.b)
    if not 0 < result <= 120:
        return ""
    return rng.choice(WRONG_START).format(
        wrong=NEEDED[wop],
        x=step.a,
        wop=wop,
        y=step.b,
        wr=result,
        need=NEEDED[step.op],
        reason=step.reason,
        Reason=capital(step.reason),
    )


def step_paragraph(rng: random.Random, step: Step, place: str, level: float) -> str:
    """One step, with what overthinking puts around it."""
    parts = [wrong_start(rng, step) if rng.random() < 0.2 * level else ""]
    parts.append(
        rng.choice(LONG_STEP if rng.random() < 0.1 + 0.5 * level else SHORT_STEP).format(
            order=rng.choice(ORDER[place]),
            purpose=step.purpose,
            reason=step.reason,
            Reason=capital(step.reason),
            states=step.states,
            a=step.a,
            op=step.op,
            b=step.b,
            r=step.result,
            need=NEEDED[step.op],
        )
    )
    if rng.random() < 0.7 * level:
        parts.append(rng.choice(CHECK).format(eq=check_equation(rng, step)))
    if rng.random() < 0.2 * level:
        parts.append(rng.choice(SMALL_HEDGE))
    return " ".join(part for part in parts if part)


def step_paragraphs(rng: random.Random, problem: Problem, level: float) -> list[str]:
    last = len(problem.steps) - 1
    places = ["first" if i == 0 else "last" if i == last else "middle" for i in range(last + 1)]
    return [step_paragraph(rng, step, place, level) for step, place in zip(problem.steps, places, strict=True)]


def chain(equations: list[str]) -> str:
    """Equations as one sentence or several: "First, 4 * 6 = 24. Then, 24 + 5 = 29"."""
    return ". ".join(f"{'First' if i == 0 else 'Then'}, {equation}" for i, equation in enumerate(equations))


def write_thinking(rng: random.Random, problem: Problem, level: float) -> str:
    """The chain of thought, paragraphs apart by an empty line."""
    fill = {"goal": problem.goal, "conclusion": problem.conclusion, "r": problem.answer}

    def maybe(probability: float, phrasings: list[str], **more: str) -> list[str]:
        return [rng.choice(phrasings).format(**fill, **more)] if rng.random() < probability else []

    opening = maybe(1.0, GOAL) + maybe(0.7 * level, HEDGE)
    again = chain([step.equation for step in problem.steps])
    backwards = chain([inverse(step) for step in reversed(problem.steps)])
    return "\n\n".join(
        [
            " ".join(opening),
            *maybe(level, RESTATE, facts=" ".join(problem.facts)),
            *step_paragraphs(rng, problem, level),
            *maybe(1.0, CONCLUSION),
            *maybe(0.9 * level, REVERIFY, all=again),
            *maybe(0.65 * level, REVERSE, all=backwards),
            *maybe(0.45 * level, DOUBT),
            *maybe(0.7 * level, CLOSING),
        ]
    )


def write_response(rng: random.Random, problem: Problem) -> str:
    """What the student is to answer after its template's `<think>` and line break."""
    return write_thinking(rng, problem, draw_level(rng)) + SUMMARY.format(r=problem.answer)


def write_drill(rng: random.Random) -> tuple[str, str]:
    """A question and response of bare arithmetic: the one place where numbers above `SMALL`'s are seen."""
    equations = [drill_step(rng, large=rng.random() < 0.4) for _ in range(rng.randint(3, 6))]
    asked = ", ".join(equation.split(" = ")[0] for equation in equations)
    thinking = "\n\n".join(f"{equation}." for equation in equations)
    return f"Calculate {asked}.", thinking + SUMMARY.format(r=equations[-1].split(" = ")[1])


def drill_step(rng: random.Random, large: bool) -> str:
    """One equation, its numbers as in the problems or, if `large`, up to 250."""
    op = rng.choice("++--**/")
    if op in "*/":
        a, b = rng.randint(2, 9), rng.randint(2, 27 if large else 20)
        a, b = (b, a) if rng.random() < 0.3 else (a, b)
        return f"{a} * {b} = {a * b}" if op == "*" else f"{a * b} / {b} = {a}"
    a, b = (rng.randint(50, 200), rng.randint(2, 50)) if large else (rng.randint(2, 100), rng.randint(2, 20))
    return f"{a + b} - {b} = {a}" if op == "-" else f"{a} + {b} = {a + b}"
