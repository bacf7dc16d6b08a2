"""Trainings in child processes that a test can kill. One server process imports torch and peft once and forks each
training; `TrainingForks` talks to it (`main`) over pipes."""

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from drp.config.sections import Config
from tests.conftest import REPOSITORY


class TrainingForks:
    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.training import forks; forks.main()"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()

    def start(self, config: Config, die_in_checkpoint: int = 0) -> int:
        """Start a training. Returns its process id.

        die_in_checkpoint: the optimizer step in whose checkpoint the process kills itself, half way; 0: none.
        """
        assert self._process.stdin
        self._process.stdin.write(f"{die_in_checkpoint} {config.model_dump_json()}\n")
        self._process.stdin.flush()
        return self._read_number()

    def wait(self) -> int:
        """Wait for the training to end. Returns the signal that killed it; 0 if none did."""
        return os.WTERMSIG(self._read_number())

    def _read_number(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


def main() -> None:
    import peft  # noqa: F401
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _train(*line.split(" ", 1))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def _train(die_in_checkpoint: str, config: str) -> None:
    from drp.stages import train

    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if int(die_in_checkpoint):
        _die_in_checkpoint(int(die_in_checkpoint))
    train.run(Config.model_validate_json(config))
    os._exit(0)


def _die_in_checkpoint(step: int) -> None:
    """Send SIGKILL to this process after the checkpoint's weights and optimizer are written, before the rest is."""
    import torch

    save = torch.save

    def save_and_die(value: Any, path: Any, *rest: Any, **given: Any) -> None:
        save(value, path, *rest, **given)
        if str(path).endswith(f"checkpoint-{step}/optimizer.pt"):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save_and_die
