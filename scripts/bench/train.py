"""Response tokens per second of LoRA training, ours beside TRL's SFTTrainer, on the same token ids.

    python scripts/bench/train.py --student data/tiny/model --pruned runs/demo/pruned.jsonl \\
        --peers-python .venv-peers/bin/python [--traces FOLDER] [--llamafactory-python PYTHON]

Claims, all on the same machine in one run, against `trl`, the defaults of its SFTTrainer, and `trl-fast`, without
activation checkpointing and with batches of similar lengths, its fastest setting that we know of on a CPU:

    pruned    on a run's pruned data: 1.2 times trl, no slower than trl-fast
    traces    on whole reasoning traces, whose lengths have a long tail: 1.5 times trl, no slower than trl-fast
    both      peak memory no higher than either's, validation loss at most 2% over either's

All train the same adapter with the same optimizer, schedule and batch size, in fp32 on a CPU and bf16 on a GPU, each in
a fresh process (`train_contenders.py`), in turn, `--repeats` times; the best round counts. The validation loss is
computed by the same code from every contender's adapter. LLaMA-Factory, where it is given, is shown without a claim: it
trains in a precision of its own choice and gives `<think>` a loss.

Prints a table and, as its last line, one JSON object; exit status 0 where all claims hold. On a machine that others use
as well, `--realtime` (root only) keeps their load out of the figures.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from train_contenders import read_recipe, read_rows

ROOT = Path(__file__).resolve().parents[2]
CLAIM = "training gives 1.2 times the response tokens/s of TRL's SFTTrainer on short examples, 1.5 times on long-tailed"


@dataclass(frozen=True)
class Load:
    """goal, goal_fast: the least ratio of our rate to that of trl and of trl-fast."""

    name: str
    sources: list[Path]
    field: str
    n_examples: int
    batch_size: int
    epochs: int
    cutoff_tokens: int
    goal: float
    goal_fast: float


@dataclass(frozen=True)
class Result:
    seconds: float
    cpu_s: float
    response_tokens: int
    peak_mib: int
    loss: float
    """Validation loss of the trained adapter, in nats a response token."""

    @property
    def rate(self) -> float:
        return self.response_tokens / self.seconds


def main() -> int:
    args = read_arguments()
    if args.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))  # the contenders inherit it
    pythons = {"ours": sys.executable}
    if args.peers_python:
        pythons |= {"trl": args.peers_python, "trl-fast": args.peers_python}
    if args.llamafactory_python:
        pythons["llamafactory"] = args.llamafactory_python
    loads = [Load("pruned", [Path(args.pruned)], "pruned_response", args.examples, 16, 2, 4096, 1.2, 1.0)]
    if args.traces:
        files = sorted(Path(args.traces).glob("*.jsonl"))
        loads.append(Load("traces", files, "response", args.examples // 8, 8, 1, 2048, 1.5, 1.0))
    best = {load.name: measure(load, pythons, args) for load in loads}
    return report(loads, best)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True, help="model folder")
    parser.add_argument("--pruned", required=True, help="a pruned.jsonl")
    parser.add_argument("--traces", help="a folder of JSONL files with `question` and `response`")
    parser.add_argument("--peers-python", help="a Python that has trl, peft and datasets installed")
    parser.add_argument("--llamafactory-python", help="a Python that has llamafactory installed")
    parser.add_argument("--examples", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=2, help="rounds; the best of each contender counts")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; by default torch's own choice")
    parser.add_argument("--realtime", action="store_true", help="contenders go before all other processes")
    return parser.parse_args()


def measure(load: Load, pythons: dict[str, str], args: argparse.Namespace) -> dict[str, Result]:
    best: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(load, args.student, folder)
        for _ in range(args.repeats):
            for contender, python in pythons.items():
                result = run_contender(contender, python, folder, args)
                if contender not in best or result.rate > best[contender].rate:
                    best[contender] = result
                print(f"{load.name:<8} {describe(contender, result)}", flush=True)
    return best


def describe(contender: str, result: Result) -> str:
    return (
        f"{contender:<12} {result.seconds:7.1f} s  {result.rate:8,.0f} response tokens/s  {result.cpu_s:7.1f} s CPU  "
        f"{result.peak_mib:6,} MiB  validation loss {result.loss:.4f}"
    )


def prepare(load: Load, student: str, folder: Path) -> None:
    """Write sft.jsonl and the settings that all contenders read."""
    sys.path.insert(0, str(ROOT))
    from drp.config.sections import TrainSettings
    from drp.student.response import ChatFormat, load_tokenizer
    from drp.training.examples import TrainingRecord, select_examples, write_examples

    rows = [json.loads(line) for path in load.sources for line in path.read_text().splitlines()]
    random.Random(0).shuffle(rows)
    sources = [
        TrainingRecord(id=f"{number}-{row['id']}", question=row["question"], pruned_response=row[load.field])
        for number, row in enumerate(rows)
    ]
    settings = TrainSettings(
        only_correct=False, cutoff_tokens=load.cutoff_tokens, max_samples=load.n_examples, validation_split=0.1
    )
    selection = select_examples(sources, ChatFormat(load_tokenizer(student)), settings, seed=0)
    write_examples(folder / "sft.jsonl", selection)
    recipe = {
        "student": student,
        "batch_size": load.batch_size,
        "epochs": load.epochs,
        "learning_rate": 1e-3,
        "cutoff_tokens": load.cutoff_tokens,
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    lengths = sorted(map(len, selection.train))
    print(
        f"{load.name}: {len(lengths)} examples, tokens: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}",
        flush=True,
    )


def run_contender(contender: str, python: str, folder: Path, args: argparse.Namespace) -> Result:
    command = [python, str(Path(__file__).with_name("train_contenders.py").resolve()), contender, str(folder)]
    threads = {} if args.threads is None else {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | threads)
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    return Result(loss=judge(folder, result.pop("adapter")), **result)


def judge(folder: Path, adapter: str) -> float:
    """Mean validation loss of an adapter, by plain transformers, one example at a time."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(read_recipe(folder)["student"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter)
    total, count = 0.0, 0
    with torch.no_grad():
        for row in read_rows(folder, "validation"):
            ids, n = torch.tensor([row["input_ids"]]), row["n_response_tokens"]
            logits = model(input_ids=ids).logits[0, -n - 1 : -1]
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, -n:], reduction="sum"))
            count += n
    return total / count


def report(loads: list[Load], best: dict[str, dict[str, Result]]) -> int:
    print()
    ratios: dict[str, dict[str, float]] = {}
    holds = True
    for load in loads:
        results = best[load.name]
        ours = results["ours"]
        ratios[load.name] = {name: round(ours.rate / result.rate, 2) for name, result in results.items()}
        for name, result in results.items():
            print(f"{load.name:<8} {describe(name, result)}  ours is {ratios[load.name][name]:.2f} times")
        for name, goal in (("trl", load.goal), ("trl-fast", load.goal_fast)):
            peer = results.get(name)
            if peer is None:
                holds = False
                continue
            holds &= ours.rate >= goal * peer.rate
            holds &= ours.peak_mib <= peer.peak_mib and ours.loss <= 1.02 * peer.loss
    result = {
        "claim": CLAIM,
        "ours": {name: round(results["ours"].rate) for name, results in best.items()},
        "peer": {name: {n: round(r.rate) for n, r in results.items() if n != "ours"} for name, results in best.items()},
        "ratio": ratios,
        "goal": {load.name: {"trl": load.goal, "trl-fast": load.goal_fast} for load in loads},
        "holds": holds,
    }
    print(json.dumps(result))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
