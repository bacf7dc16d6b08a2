"""Where things are in a run directory.

runs/demo/
  problems.jsonl  traces.jsonl  steps.jsonl  pruned.jsonl
  replies.jsonl                  the teacher's raw replies, stored before anything parses them
  batches.jsonl                  the teacher's batches: what was sent to the provider, and how far it is
  train/adapter  train/merged    what training made
  benchmarks/gsm8k.jsonl         the problems of a benchmark
  eval/base/gsm8k.jsonl          one file a model and benchmark, and a summary.json a model
  judge/NAME.jsonl               a judge's verdicts on this run's steps against NAME's
  report/index.html
  effective-config.yaml          the configuration of the last stage that ran here
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunDir:
    root: Path

    @property
    def problems(self) -> Path:
        return self.root / "problems.jsonl"

    @property
    def traces(self) -> Path:
        return self.root / "traces.jsonl"

    @property
    def steps(self) -> Path:
        return self.root / "steps.jsonl"

    @property
    def pruned(self) -> Path:
        return self.root / "pruned.jsonl"

    @property
    def replies(self) -> Path:
        return self.root / "replies.jsonl"

    @property
    def batches(self) -> Path:
        return self.root / "batches.jsonl"

    @property
    def train(self) -> Path:
        return self.root / "train"

    @property
    def merged(self) -> Path:
        return self.train / "merged"

    @property
    def eval(self) -> Path:
        return self.root / "eval"

    @property
    def benchmarks(self) -> Path:
        return self.root / "benchmarks"

    @property
    def judge(self) -> Path:
        return self.root / "judge"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def config(self) -> Path:
        return self.root / "effective-config.yaml"
