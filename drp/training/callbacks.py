"""What happens beside the optimizer steps: a progress bar, checkpoints of the best weights, and a graceful stop."""

import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from drp.training.launch import is_launched


class StepBar(TrainerCallback):
    """Optimizer steps done, rate, time left and the loss, on stderr."""

    bar: Any = None

    def on_train_begin(self, *event: Any, **_: Any) -> None:
        _, state, _ = event
        interval = 0.1 if sys.stderr.isatty() else 15.0
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="train",
            unit="step",
            file=sys.stderr,
            mininterval=interval,
            dynamic_ncols=True,
            disable=not state.is_world_process_zero,
        )

    def on_log(self, *event: Any, **given: Any) -> None:
        _, state, _ = event
        logs = given["logs"]
        if "loss" in logs and self.bar is not None:
            self.bar.set_postfix({"loss": f"{logs['loss']:.4f}"}, refresh=False)
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class CheckpointBest(TrainerCallback):
    """A checkpoint wherever the validation loss is lower than ever before. The Trainer compares them (`best_metric`)
    and spares the best from rotation, but saves at fixed steps only."""

    def on_evaluate(self, *event: Any, **given: Any) -> None:
        _, state, control = event
        if state.best_metric is None or given["metrics"]["eval_loss"] < state.best_metric:
            control.should_save = True


SAME_SIGNAL_S = 2.0
"""A launcher passes on the signal that the terminal has already sent: within this time it is one and the same."""


class GracefulStop(TrainerCallback):
    """The first Ctrl-C or SIGTERM (a cluster's notice) ends training after the step at hand, with a checkpoint; a
    second one at once. One process that is asked stops all of them after the same step. `with` it, then look at
    `asked`."""

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked and (not is_launched() or time.monotonic() - self._asked_at > SAME_SIGNAL_S):
            raise KeyboardInterrupt
        self.asked, self._asked_at = True, time.monotonic()

    def on_step_end(self, *event: Any, **_: Any) -> None:
        arguments, _, control = event
        if arguments.world_size > 1:
            asked = torch.tensor(int(self.asked), device=arguments.device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
            self.asked = bool(asked)
        if self.asked:
            control.should_save = control.should_training_stop = True
