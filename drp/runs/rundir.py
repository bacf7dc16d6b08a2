"""The layout of a run directory.

runs/demo/
  problems.jsonl  traces.jsonl  steps.jsonl  pruned.jsonl
  replies.jsonl                  the teacher's raw replies, stored before they are parsed
  batches.jsonl                  the batches sent to the teacher's provider, and their status
  train/adapter  train/merged    the trained adapter and the merged model
  benchmarks/gsm8k.jsonl         the problems of a benchmark
  eval/base/gsm8k.jsonl          one file per model and benchmark, and one summary.json per model
  judge/NAME.jsonl               a judge's verdicts on this run's steps against NAME's
  report/index.html
  effective-config.yaml          the configuration of the last stage that ran here

An artifact NAME.jsonl has a NAME.jsonl.manifest.json and a NAME.failed.jsonl beside it.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunDir:
    """The paths in a run directory."""

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


def manifest_path(target: Path) -> Path:
    """The manifest of an artifact."""
    return target.with_name(f"{target.name}.manifest.json")


def failures_path(target: Path) -> Path:
    """The failures of an artifact."""
    return target.with_name(f"{target.stem}.failed.jsonl")
