"""Which traces training draws, so that the teacher is paid for these alone.

Training takes the `train.max_samples` examples with the smallest keys; the key of a trace is a hash of its id and the
seed. Decompose and prune work through the traces in the same order and stop when enough of them are left to train on:

    max_samples: 3    keys ascending:    a        b        c        d        e
                                         pruned   refused  pruned   pruned   not drawn for training

A trace that is found to give no example (its replies were refused, nothing could be pruned, the result is too long) is
replaced by the next one. Each stage replaces what it loses itself. What prune loses is replaced when decompose and
prune run again, which `drp run` does by itself. What is drawn depends on the traces, the seed and what became of them,
and not on the number of runs.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from pydantic import ConfigDict

from drp.config.sections import Config, TrainSettings
from drp.errors import RefusedReply
from drp.records import Failure, Record
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts, load_manifest
from drp.runs.rundir import failures_path
from drp.runs.stage import RunOptions

UNCHANGED = "nothing to prune"
"""Why prune leaves a trace out that it has worked on."""


def draw_key(seed: int, id: str) -> int:
    """A pseudorandom number that depends on `seed` and `id` only, on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{id}".encode()).digest()[:8])


def draw_ids(
    config: Config, candidates: Iterable[str], artifacts: Sequence[Path], options: RunOptions
) -> AbstractSet[str] | None:
    """The ids of the candidates that a stage has to work on; None for all, without `train.max_samples`.

    artifacts: the stage's own, then those of the stages after it. They tell what became of the candidates, unless the
    stage starts again (`--overwrite`), and may be missing. With `--reparse`, what the first one has stays drawn.
    """
    n_wanted = config.train.max_samples
    if n_wanted is None:
        return None
    lost: set[str] = set()
    for target in [] if options.overwrite else artifacts:
        n_wanted += _read_counts(target).filtered[UNCHANGED]  # these have no ids on disk, but all of them were drawn
        lost.update(find_refused(target, config))
        lost.update(record.id for record in _read_drawn(target) if not record.is_trainable(config.train))
    drawn = {record.id for record in _read_drawn(artifacts[0])} if options.reparse else set[str]()
    for id in sorted(set(candidates), key=lambda id: draw_key(config.data_seed, id)):
        if n_wanted <= 0:
            break
        drawn.add(id)
        n_wanted -= id not in lost
    return drawn


def work_on_draw(
    draw: Callable[[RunOptions], AbstractSet[str] | None],
    work: Callable[[AbstractSet[str] | None, RunOptions], Counts],
    options: RunOptions,
) -> Counts:
    """Run a stage on what is drawn, and again as long as more is drawn in place of what was lost.

    draw: returns the ids to work on, see `draw_ids`. work: runs the stage on these ids; None: on all.
    Each run draws as many more as the one before has lost, so there are a few. `--reparse`, which pays for nothing, is
    one run.
    """
    drawn = draw(options)
    counts = work(drawn, options)
    if options.dry_run or options.reparse:
        return counts
    options = replace(options, overwrite=False)
    while (larger := draw(options)) is not None and drawn is not None and not larger <= drawn:
        drawn = larger
        counts = work(drawn, options)
    return counts


def find_refused(target: Path, config: Config) -> Iterable[str]:
    """The ids of an artifact's failures that another run would meet again. It retries the others, so they are not
    replaced."""
    for failure in read_records(failures_path(target), Failure, "skip"):
        if failure.error == RefusedReply.__name__ or config.teacher.provider == "rules":
            yield failure.id


class DrawnTrace(Record):
    """The fields of a line of steps.jsonl or pruned.jsonl that tell whether training can use it, as far as is known."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    question: str
    correct: bool | None
    n_tokens: int | None
    n_tokens_pruned: int | None = None

    def is_trainable(self, settings: TrainSettings) -> bool:
        """Whether it is certain to pass the checks of `drp.training.examples`.

        The prompt is not tokenized here: its length is estimated with room to spare. A record that is just short
        enough may count as too long, and then one more trace is drawn.
        """
        if settings.only_correct and not self.correct:
            return False
        n_response = self.n_tokens if settings.response == "original" else self.n_tokens_pruned
        return n_response is None or n_response + len(self.question) // 2 + 32 <= settings.cutoff_tokens


def _read_drawn(target: Path) -> Iterable[DrawnTrace]:
    return read_records(target, DrawnTrace, "skip")


def _read_counts(target: Path) -> Counts:
    """What became of an artifact's input; all zero if its stage has not finished."""
    manifest = load_manifest(target)
    return manifest.counts if manifest is not None and manifest.state == "complete" else Counts()
