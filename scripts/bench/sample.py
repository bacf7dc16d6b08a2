"""Response tokens sampled per second: drp's vLLM backend beside `LLM.generate`, at once and in chunks, in one run.

    python scripts/bench/sample.py
    python scripts/bench/sample.py --model FOLDER --problems problems.jsonl --prompts 2000 --max-num-seqs 256

Contenders, each in a fresh process, one after the other, `--repeats` times; the best round counts:

    ours        the engine as `drp generate` uses it, in a process of its own: a stream of requests in, responses out as
                they finish, decoded
    generate    `LLM.generate` with all prompts in one call: vLLM's own offline rate, nothing on disk before its end
    chunks      `LLM.generate` with `--chunk` prompts a call, as scripts do that save what they have now and then

All get the same token ids, engine settings, sampling parameters and CPU threads, and decode what they sample. Seconds
run from the first request to the last response; starting the engine is not counted. Goals: 0.97 of `generate`, 1.2
times `chunks`. Prints a table and, as its last line, one JSON object; exit status 0 where both goals hold.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from drp.config.sections import EngineSettings, SamplingSettings, StudentSettings
from drp.student.base import Completion, SamplingRequest, limit_threads
from drp.student.engines import open_engines
from drp.student.response import ChatFormat, load_tokenizer
from drp.student.sampler import set_environment

ROOT = Path(__file__).resolve().parents[2]
CLAIM = "drp's vLLM backend gives 0.97 of LLM.generate's response tokens/s, and 1.2 times those of chunks"
CONTENDERS = ("ours", "generate", "chunks")
GOALS = {"generate": 0.97, "chunks": 1.2}


@dataclass(frozen=True)
class Result:
    """first_s: seconds until the first response could be written to disk."""

    seconds: float
    first_s: float
    responses: int
    tokens: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def main() -> int:
    args = read_arguments()
    if args.contender:
        chunk = args.chunk if args.contender == "chunks" else args.prompts
        result = run_ours(args) if args.contender == "ours" else run_generate(args, chunk)
        print(json.dumps(vars(result)))
        return 0
    best: dict[str, Result] = {}
    for _ in range(args.repeats):
        for name in CONTENDERS:
            result = run_contender(name)
            print(describe(name, result), flush=True)
            if name not in best or result.rate > best[name].rate:
                best[name] = result
    return report(best)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "data/tiny/model"), help="model folder")
    parser.add_argument("--problems", type=Path, default=ROOT / "data/tiny/train.jsonl", help="JSONL with `question`")
    parser.add_argument("--prompts", type=int, default=800)
    parser.add_argument("--chunk", type=int, default=256, help="prompts a call of the contender `chunks`")
    parser.add_argument("--max-num-seqs", type=int, default=EngineSettings().max_num_seqs)
    parser.add_argument("--max-new-tokens", type=int, default=700)
    parser.add_argument("--max-model-len", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--contender", choices=CONTENDERS, help="run this one here and print its result")
    return parser.parse_args()


def run_contender(name: str) -> Result:
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--contender", name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def run_ours(args: argparse.Namespace) -> Result:
    engine = EngineSettings(backend="vllm", max_num_seqs=args.max_num_seqs, max_model_len=args.max_model_len)
    sampling = SamplingSettings(temperature=0.6, top_p=0.95, max_new_tokens=args.max_new_tokens)
    sampler = open_engines(StudentSettings(model=args.model), engine, sampling, 0)
    requests = [SamplingRequest(str(number), ids) for number, ids in enumerate(read_prompts(args))]
    started = time.perf_counter()
    finished = [(time.perf_counter(), answer) for answer in sampler.sample(iter(requests))]
    tokens = sum(answer.n_tokens for _, answer in finished if isinstance(answer, Completion))
    sampler.close()
    return Result(finished[-1][0] - started, finished[0][0] - started, len(finished), tokens)


def run_generate(args: argparse.Namespace, chunk: int) -> Result:
    """`LLM.generate`, called with so many prompts at a time."""
    engine, parameters = open_engine(args)
    prompts = [{"prompt_token_ids": ids} for ids in read_prompts(args)]
    started = time.perf_counter()
    first, responses, tokens = 0.0, 0, 0
    for start in range(0, len(prompts), chunk):
        outputs = engine.generate(prompts[start : start + chunk], parameters, use_tqdm=False)
        first = first or time.perf_counter() - started
        responses += len(outputs)
        tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
    return Result(time.perf_counter() - started, first, responses, tokens)


def open_engine(args: argparse.Namespace) -> tuple[Any, Any]:
    """An `LLM` with the settings that drp's backend gives its engine, and the sampling parameters."""
    set_environment()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    settings: dict[str, Any] = {"gpu_memory_utilization": EngineSettings().gpu_memory_utilization}
    if current_platform.is_cpu():
        weights = sum(path.stat().st_size for path in Path(args.model).glob("*.safetensors"))
        limit_threads(weights // 2)
        settings = {"enforce_eager": True, "kv_cache_memory_bytes": EngineSettings().cpu_kvcache_gib << 30}
    engine = LLM(
        args.model,
        dtype=EngineSettings().dtype,
        max_model_len=args.max_model_len,
        max_num_seqs=args.max_num_seqs,
        disable_log_stats=True,
        **settings,
    )
    return engine, SamplingParams(temperature=0.6, top_p=0.95, max_tokens=args.max_new_tokens)


def read_prompts(args: argparse.Namespace) -> Iterator[list[int]]:
    format = ChatFormat(load_tokenizer(args.model))
    with args.problems.open(encoding="utf-8") as lines:
        for line in islice(lines, args.prompts):
            yield format.prompt_ids(json.loads(line)["question"])


def describe(name: str, result: Result) -> str:
    return (
        f"{name:<9} {result.seconds:7.1f} s  {result.rate:8,.0f} response tokens/s  "
        f"first response after {result.first_s:5.1f} s  {result.responses:,} responses"
    )


def report(best: dict[str, Result]) -> int:
    ours = best["ours"]
    ratios = {name: round(ours.rate / best[name].rate, 2) for name in GOALS}
    holds = all(ours.rate >= goal * best[name].rate for name, goal in GOALS.items())
    holds &= len({result.responses for result in best.values()}) == 1
    print()
    for name, result in best.items():
        print(describe(name, result) + (f"  ours is {ratios[name]:.2f} times" if name in ratios else ""))
    result = {
        "claim": CLAIM,
        "ours": round(ours.rate),
        "peer": {name: round(best[name].rate) for name in GOALS},
        "ratio": ratios,
        "goal": GOALS,
        "first_s": {name: round(result.first_s, 1) for name, result in best.items()},
        "holds": holds,
    }
    print(json.dumps(result))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
