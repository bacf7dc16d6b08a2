"""Greedy responses of a trained student as it is served, against base and adapter in transformers, token by token.

    python scripts/bench/equality.py --run runs/demo
    python scripts/bench/equality.py --run runs/demo --benchmark tiny-harder --prompts 200

Reference: base and adapter unmerged in transformers, float32, one prompt at a time. Served: `train/merged` in vLLM, and
base with `train/adapter` in vLLM; both compute in float32. The merged model's weights are rounded to the type that the
student is stored in, so a response may part from the reference where two tokens are all but equally likely. For every
response that parts: the token at which it does, what either wrote there, and the reference's logit gap, top 1 minus
top 2. The claim holds where no response parts at a gap over `--tolerance`. The last line is JSON.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

Rows = list[list[int]]
CLAIM = "greedy responses served by vLLM part from base + adapter in transformers at near ties only"


@dataclass(frozen=True)
class Parting:
    """Where a response parts from the reference. place: tokens that they share; gap: in logits."""

    prompt: int
    place: int
    reference: str
    served: str
    gap: float


def main() -> int:
    args = read_arguments()
    adapter, merged = args.run / "train/adapter", args.run / "train/merged"
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    reference = Reference(base, adapter)
    prompts = list(islice(read_prompts(args.run / f"benchmarks/{args.benchmark}.jsonl", adapter), args.prompts))
    expected = [reference.respond(prompt, args.max_new_tokens) for prompt in prompts]
    served = {
        "merged": draw_apart(str(merged), None, prompts, args.max_new_tokens),
        "adapter": draw_apart(base, str(adapter), prompts, args.max_new_tokens),
    }
    partings = {name: find_partings(reference, prompts, expected, rows) for name, rows in served.items()}
    return report(partings, len(prompts), args.tolerance)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a run directory with a finished training")
    parser.add_argument("--benchmark", default="tiny-test", help="whose problems are asked")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--max-new-tokens", type=int, default=700)
    parser.add_argument("--tolerance", type=float, default=0.1, help="logit gap under which two tokens are a tie")
    return parser.parse_args()


def read_prompts(path: Path, adapter: Path) -> Iterator[list[int]]:
    from drp.student.response import ChatFormat, load_tokenizer

    format = ChatFormat(load_tokenizer(str(adapter)))
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield format.prompt_ids(json.loads(line)["question"])


class Reference:
    """Base and adapter, unmerged, in float32."""

    def __init__(self, base: str, adapter: Path) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self.model = PeftModel.from_pretrained(model, str(adapter)).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(adapter)

    def respond(self, prompt: list[int], max_new_tokens: int) -> list[int]:
        import torch

        ids = torch.tensor([prompt], device=self.model.device)
        with torch.inference_mode():
            drawn = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                temperature=None,
                top_p=None,
                max_new_tokens=max_new_tokens,
            )
        return drawn[0, len(prompt) :].tolist()

    def find_gap(self, ids: list[int]) -> float:
        """How far the likeliest token after `ids` is ahead of the second, in logits."""
        import torch

        with torch.inference_mode():
            logits = self.model(input_ids=torch.tensor([ids], device=self.model.device)).logits[0, -1]
        first, second = logits.topk(2).values.tolist()
        return first - second


def draw_apart(model: str, adapter: str | None, prompts: Rows, max_new_tokens: int) -> Rows:
    """Greedy responses of vLLM, in a process of its own, which gives its memory back."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(draw, model, adapter, prompts, max_new_tokens).result()


def draw(model: str, adapter: str | None, prompts: Rows, max_new_tokens: int) -> Rows:
    from drp.student.sampler import set_environment

    set_environment()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    lora: dict[str, Any] = {}
    if adapter:
        rank = json.loads((Path(adapter) / "adapter_config.json").read_text())["r"]
        lora = {"enable_lora": True, "max_lora_rank": max(8, rank)}
    length = max(map(len, prompts)) + max_new_tokens
    engine = LLM(model=model, dtype="float32", max_model_len=length, enforce_eager=True, **lora)
    outputs = engine.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts],
        SamplingParams(temperature=0, max_tokens=max_new_tokens),
        lora_request=LoRARequest("adapter", 1, adapter) if adapter else None,
        use_tqdm=False,
    )
    return [list(output.outputs[0].token_ids) for output in outputs]


def find_partings(reference: Reference, prompts: Rows, expected: Rows, served: Rows) -> list[Parting]:
    found = []
    for number, (prompt, ours, theirs) in enumerate(zip(prompts, expected, served, strict=True)):
        if ours == theirs:
            continue
        longest = min(len(ours), len(theirs))
        place = next((k for k in range(longest) if ours[k] != theirs[k]), longest)
        shown = [reference.tokenizer.decode(row[place : place + 1]) for row in (ours, theirs)]
        found.append(Parting(number, place, *shown, reference.find_gap(prompt + ours[:place])))
    return found


def report(partings: dict[str, list[Parting]], n_prompts: int, tolerance: float) -> int:
    for name, found in partings.items():
        print(f"{name} in vLLM: {n_prompts - len(found)} of {n_prompts} responses equal base + adapter in transformers")
        if found:
            print(f"  {'prompt':>6}{'token':>8}  {'reference':<14}{'served':<14}{'logit gap':>10}")
        for one in found:
            print(f"  {one.prompt:>6}{one.place:>8}  {one.reference!r:<14}{one.served!r:<14}{one.gap:>10.4f}")
    gaps = [one.gap for found in partings.values() for one in found]
    equal = {name: n_prompts - len(found) for name, found in partings.items()}
    result = {
        "claim": CLAIM,
        "ours": equal,
        "peer": n_prompts,
        "ratio": {name: round(n / n_prompts, 2) for name, n in equal.items()},
        "widest_gap": round(max(gaps, default=0.0), 4),
        "goal": {"widest_gap": tolerance},
        "holds": max(gaps, default=0.0) <= tolerance,
    }
    print(json.dumps(result))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
