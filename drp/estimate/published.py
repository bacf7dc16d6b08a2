"""Published figures that an estimate uses until a run has figures of its own: lengths of responses, speeds of GPUs.

Each figure has its source. One that nobody has published is derived from those that are; its source begins with
`estimate:` and says how.
"""

import re
from dataclasses import dataclass
from typing import Literal

CUTOFF = 12_000
"""Cutoff of the paper's mean lengths, in tokens (section 4.6)."""
CONTEXT = 131_072
"""Limit of a response in the paper's mean lengths without cutoff (section 4.5)."""

_TABLE_5 = "arXiv 2505.13975, Tables 1 and 5"
_AS_7B = "Table 1; without cutoff, estimate: longer by the factor of the 7B base model (Table 5)"


@dataclass(frozen=True)
class Length:
    """How a student answers the problems of a benchmark."""

    billions: float
    """Parameters of the student."""
    model: Literal["base", "drp"]
    benchmark: str
    accuracy: float
    """Pass@1, as a share."""
    capped: int
    """Mean length of a response, in tokens, with the cutoff of 12k tokens."""
    uncapped: int
    """The same without cutoff."""
    source: str

    def expect_tokens(self, limit: int) -> int:
        """Mean length of a response if it may have `limit` tokens.

        All responses over the cutoff are taken for loops, which reach any limit.
        """
        if limit <= CUTOFF:
            return min(self.capped, limit)
        return round(self.capped + self._loop_share * (min(limit, CONTEXT) - CUTOFF))

    @property
    def finished(self) -> int:
        """Mean length of the responses that are no loops."""
        return round((self.capped - self._loop_share * CUTOFF) / (1 - self._loop_share))

    @property
    def _loop_share(self) -> float:
        return (self.uncapped - self.capped) / (CONTEXT - CUTOFF)


LENGTHS = [
    Length(7, "base", "gsm8k", 0.917, 917, 917, _TABLE_5),
    Length(7, "base", "math500", 0.924, 2486, 5435, _TABLE_5),
    Length(7, "base", "aime24", 15 / 30, 8674, 54339, _TABLE_5),
    Length(7, "base", "amc23", 31 / 40, 4845, 18736, _TABLE_5),
    Length(7, "drp", "gsm8k", 0.941, 328, 328, _AS_7B),
    Length(7, "drp", "math500", 0.930, 1781, 3894, _AS_7B),
    Length(7, "drp", "aime24", 15 / 30, 4966, 31110, _AS_7B),
    Length(7, "drp", "amc23", 33 / 40, 3258, 12599, _AS_7B),
    Length(1.5, "base", "gsm8k", 0.707, 1443, 1443, _AS_7B),
    Length(1.5, "base", "math500", 0.804, 3276, 7162, _AS_7B),
    Length(1.5, "base", "aime24", 6 / 30, 10484, 65678, _AS_7B),
    Length(1.5, "base", "amc23", 22 / 40, 6516, 25198, _AS_7B),
    Length(1.5, "drp", "gsm8k", 0.834, 721, 721, _AS_7B),
    Length(1.5, "drp", "math500", 0.820, 2122, 4639, _AS_7B),
    Length(1.5, "drp", "aime24", 10 / 30, 6135, 38433, _AS_7B),
    Length(1.5, "drp", "amc23", 27 / 40, 3657, 14142, _AS_7B),
]
"""R1-Distill-Qwen; `capped` and `accuracy` are always the paper's (Table 1)."""

_SAME_LENGTH = {"gsm8k-train": "gsm8k", "prm12k": "math500"}
"""Training sets, for which there are no published lengths, with a benchmark of the same kind."""


def find_length(benchmark: str, billions: float | None, model: str = "base") -> Length | None:
    """The length for the student of the nearest size; None for a benchmark without published lengths.

    billions: parameters of the student; None: 7. model: `drp` for the model that `drp train` made, else a base model.
    """
    kind, name = "drp" if model == "drp" else "base", _SAME_LENGTH.get(benchmark, benchmark)
    found = [length for length in LENGTHS if (length.benchmark, length.model) == (name, kind)]
    return min(found, key=lambda length: _distance(length.billions, billions or 7), default=None)


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one GPU with a student of one size, in bfloat16."""

    task: Literal["sampling", "single", "training"]
    """`sampling`: generated with vLLM, as many responses at once as it takes. `single`: one response of 131k tokens
    alone, as at the end of an evaluation. `training`: LoRA with gradient checkpointing, prompts included."""
    gpu: str
    billions: float
    tokens_per_second: float
    source: str


_LAMBDA = "github.com/LambdaLabsML/vllm-benchmark, benchmark_v0.md"
_DATABASE_MART = "databasemart.com/blog/vllm-gpu-benchmark-rtx4090: R1-Distill-Qwen, 300 responses of up to 600 tokens"
_QWEN_SPEED = "QwenLM/Qwen2.5, docs/source/benchmark/speed_benchmark.rst: vLLM"
_QWEN_TRAINING = "QwenLM/Qwen, README.md, Profiling of Memory and Speed: 8 examples of 1,024 tokens a step"
_BY_SIZE = "estimate: the 8B's, by the factor of the RTX 4090 between its two sizes"
_BY_BANDWIDTH = "estimate: the A100's, by the memory bandwidths, H100 3.35, A100 2.04, RTX 4090 1.01 TB/s"

SPEEDS = [
    Speed("sampling", "h100-80gb", 8, 8088, f"{_LAMBDA}: Llama 3.1 8B, vLLM 0.6.0; GPU not named beside the table"),
    Speed("sampling", "h100-80gb", 1.5, 18800, _BY_SIZE),
    Speed("sampling", "a100-80gb", 8, 4000, f"estimate: half of the H100's, of which {_LAMBDA} says around 2x"),
    Speed("sampling", "a100-80gb", 1.5, 9300, _BY_SIZE),
    Speed("sampling", "rtx4090-24gb", 7, 3576, f"{_DATABASE_MART}, 7B: 5.96 a second"),
    Speed("sampling", "rtx4090-24gb", 1.5, 8310, f"{_DATABASE_MART}, 1.5B: 13.85 a second"),
    Speed("single", "a100-80gb", 7, 48, f"{_QWEN_SPEED}, 84 tokens per second at the beginning, 29 after 129k"),
    Speed("single", "a100-80gb", 1.5, 105, f"estimate: 2.2 times the 7B's, as up to 31k tokens in {_QWEN_SPEED}"),
    Speed("single", "h100-80gb", 7, 80, _BY_BANDWIDTH),
    Speed("single", "h100-80gb", 1.5, 172, _BY_BANDWIDTH),
    Speed("single", "rtx4090-24gb", 7, 24, _BY_BANDWIDTH),
    Speed("single", "rtx4090-24gb", 1.5, 52, _BY_BANDWIDTH),
    Speed("training", "a100-80gb", 7, 2926, f"{_QWEN_TRAINING}, 2.8 s"),
    Speed("training", "a100-80gb", 1.8, 7447, f"{_QWEN_TRAINING}, 1.1 s"),
    Speed("training", "h100-80gb", 7, 5900, "estimate: twice the A100's"),
    Speed("training", "h100-80gb", 1.8, 14900, "estimate: twice the A100's"),
    Speed("training", "rtx4090-24gb", 1.8, 3900, "estimate: the A100's, by bfloat16 operations, 165 to 312 TFLOPS"),
]


def find_speed(task: str, gpu: str, billions: float | None) -> Speed | None:
    """The speed for a student of this size, scaled from the nearest size; None if a size or the GPU is unknown."""
    known = [speed for speed in SPEEDS if (speed.task, speed.gpu) == (task, gpu)]
    if not known or not billions:
        return None
    speed = min(known, key=lambda speed: _distance(speed.billions, billions))
    if max(speed.billions, billions) <= 1.25 * min(speed.billions, billions):
        return speed
    scaled = speed.tokens_per_second * speed.billions / billions
    note = f"estimate: inversely to the size, from {speed.billions:g}B: {speed.source}"
    return Speed(speed.task, gpu, billions, scaled, note)


def find_billions(model: str) -> float | None:
    """Billions of parameters by a model's name, such as 1.5 for deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B."""
    found = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])", model.rpartition("/")[2].replace("_", "-"))
    return float(found[0]) if found else None


def _distance(a: float, b: float) -> float:
    return max(a, b) / min(a, b)
