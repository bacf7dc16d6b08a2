"""Response tokens per second of LoRA training, ours beside TRL's SFTTrainer, on the same token ids.

    python scripts/bench/train.py --student data/tiny/model --pruned runs/demo/pruned.jsonl \\
        --peers-python peers/bin/python [--traces ../shared/data/traces]

Contenders: ours; `trl`, its defaults; `trl-fast`, without activation checkpointing and with batches of similar lengths,
the fastest setting that we know of on a CPU. All train the same adapter from the same ids with the same optimizer,
schedule and batch size, in fp32 on a CPU and bf16 on a GPU. Each runs in a fresh process, in turn, `--repeats` times;
the best round counts. Seconds are those of `trainer.train()`, peak memory that of the process. The validation loss is
computed by the same code from every contender's adapter.

Two loads: the pruned data (goal: 1.2 times trl, no slower than trl-fast), and, with --traces, whole reasoning traces,
whose lengths have a long tail (goal: 1.5 times trl). Prints a table and, as its last line, one JSON object; exit
status 0 where all goals hold. On a machine that others use as well, `--realtime` (root only) keeps their load out of
the figures.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    if args.contender:
        print(json.dumps(CONTENDERS[args.contender](Path(args.folder))))
        return 0
    pythons = {"ours": sys.executable}
    if args.peers_python:
        pythons |= {"trl": args.peers_python, "trl-fast": args.peers_python}
    loads = [Load("pruned", [Path(args.pruned)], "pruned_response", args.examples, 16, 2, 4096, 1.2, 1.0)]
    if args.traces:
        files = sorted(Path(args.traces).glob("*.jsonl"))
        loads.append(Load("traces", files, "response", args.examples // 8, 8, 1, 2048, 1.5, 1.0))
    best = {load.name: measure(load, pythons, args) for load in loads}
    return report(loads, best)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", help="model folder")
    parser.add_argument("--pruned", help="a pruned.jsonl")
    parser.add_argument("--traces", help="a folder of JSONL files with `question` and `response`")
    parser.add_argument("--peers-python", help="a Python that has trl, peft and datasets installed")
    parser.add_argument("--examples", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=2, help="rounds; the best of each contender counts")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; by default torch's own choice")
    parser.add_argument("--realtime", action="store_true", help="contenders go before all other processes")
    parser.add_argument("--contender", choices=sorted(CONTENDERS), help="run this one alone, on --folder")
    parser.add_argument("--folder")
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
        f"{contender:<9} {result.seconds:7.1f} s  {result.rate:8,.0f} response tokens/s  {result.cpu_s:7.1f} s CPU  "
        f"{result.peak_mib:6,} MiB  validation loss {result.loss:.4f}"
    )


def prepare(load: Load, student: str, folder: Path) -> None:
    """Write sft.jsonl and the settings that all contenders read."""
    sys.path.insert(0, str(ROOT))
    from drp.settings import TrainSettings
    from drp.traces import load_tokenizer
    from drp.training.examples import Source, select_examples, write_examples

    rows = [json.loads(line) for path in load.sources for line in path.read_text().splitlines()]
    random.Random(0).shuffle(rows)
    sources = [
        Source(id=f"{number}-{row['id']}", question=row["question"], pruned_response=row[load.field])
        for number, row in enumerate(rows)
    ]
    settings = TrainSettings(
        only_correct=False, cutoff_tokens=load.cutoff_tokens, max_samples=load.n_examples, validation_split=0.1
    )
    selection = select_examples(sources, load_tokenizer(student), settings, seed=0)
    write_examples(folder / "sft.jsonl", selection)
    recipe = {"student": student, "batch_size": load.batch_size, "epochs": load.epochs, "learning_rate": 1e-3}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    lengths = sorted(map(len, selection.train))
    print(
        f"{load.name}: {len(lengths)} examples, tokens: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}",
        flush=True,
    )


def run_contender(contender: str, python: str, folder: Path, args: argparse.Namespace) -> Result:
    command = [python, str(Path(__file__).resolve()), "--contender", contender, "--folder", str(folder)]
    if args.realtime:
        command.append("--realtime")
    threads = {} if args.threads is None else {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | threads)
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    return Result(loss=judge(folder), **result)


def judge(folder: Path) -> float:
    """Mean validation loss of the adapter in `folder`, by plain transformers, one example at a time."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    recipe = json.loads((folder / "recipe.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(recipe["student"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(folder / "adapter"))
    total, count = 0.0, 0
    with torch.no_grad():
        for row in read_rows(folder, "validation"):
            ids, n = torch.tensor([row["input_ids"]]), row["n_response_tokens"]
            logits = model(input_ids=ids).logits[0, -n - 1 : -1]
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, -n:], reduction="sum"))
            count += n
    return total / count


def read_rows(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    for line in (folder / "sft.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["split"] == split:
            yield row


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
            holds &= ours.peak_mib <= peer.peak_mib and abs(ours.loss / peer.loss - 1) <= 0.02
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


def train_ours(folder: Path) -> dict[str, float]:
    sys.path.insert(0, str(ROOT))
    from drp.artifacts import Appender
    from drp.settings import Config
    from drp.training.examples import Example
    from drp.training.session import prepare_student
    from drp.training.trainer import ResponseTrainer, build_arguments

    recipe = json.loads((folder / "recipe.json").read_text())
    settings = {name: recipe[name] for name in ("batch_size", "epochs", "learning_rate")} | {
        "gradient_accumulation": 1,
        "checkpoint_steps": 10**6,
        "lora": {"rank": 16, "alpha": 32},
    }
    config = Config.model_validate({"run_dir": folder, "student": {"model": recipe["student"]}, "train": settings})
    examples = []
    for row in read_rows(folder, "train"):
        ids, n = row["input_ids"], row["n_prompt_tokens"]
        examples.append(Example(row["id"], row["question"], row["response"], ids[:n], ids[n:]))
    student = prepare_student(config)
    arguments = build_arguments(
        config.train,
        folder / "checkpoints",
        0,
        precision=student.setup.precision,
        validate=False,
        resumed=False,
    )
    with Appender(folder / "log.jsonl", truncate=True) as log:
        trainer = ResponseTrainer(student.model, arguments, examples, [], log, joined=student.setup.padding_free)
        result = clock(trainer.train)
    student.model.save_pretrained(folder / "adapter")
    return result | {"response_tokens": recipe["epochs"] * sum(len(example.response_ids) for example in examples)}


def train_trl(folder: Path, **fast: Any) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    recipe = json.loads((folder / "recipe.json").read_text())
    rows = [
        {
            "input_ids": row["input_ids"],
            "labels": [-100] * row["n_prompt_tokens"] + row["input_ids"][row["n_prompt_tokens"] :],
        }
        for row in read_rows(folder, "train")
    ]
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    arguments = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=recipe["batch_size"],
        num_train_epochs=recipe["epochs"],
        learning_rate=recipe["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        bf16=gpu,
        max_length=4096,  # its default, 1024, would cut examples
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        **fast,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(recipe["student"], dtype=dtype),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(recipe["student"]),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    result = clock(trainer.train)
    trainer.model.save_pretrained(folder / "adapter")
    return result | {"response_tokens": recipe["epochs"] * sum(sum(t != -100 for t in row["labels"]) for row in rows)}


def train_trl_fast(folder: Path) -> dict[str, float]:
    return train_trl(folder, gradient_checkpointing=False, train_sampling_strategy="group_by_length")


def clock(train: Callable[[], object]) -> dict[str, float]:
    started, cpu = time.perf_counter(), time.process_time()
    train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu, "peak_mib": peak}


CONTENDERS: dict[str, Callable[[Path], dict[str, float]]] = {
    "ours": train_ours,
    "trl": train_trl,
    "trl-fast": train_trl_fast,
}

if __name__ == "__main__":
    sys.exit(main())
