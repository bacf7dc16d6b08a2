"""What happens beside the optimizer steps: a progress bar, and a graceful stop."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from tqdm import tqdm
from transformers import TrainerCallback


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


class GracefulStop(TrainerCallback):
    """The first Ctrl-C or SIGTERM (a cluster's notice) ends training after the step at hand, with a checkpoint; a
    second one at once. `with` it, then look at `asked`."""

    def __init__(self) -> None:
        self.asked = False
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
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_step_end(self, *event: Any, **_: Any) -> None:
        _, _, control = event
        if self.asked:
            control.should_save = control.should_training_stop = True
