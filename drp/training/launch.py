"""The processes of one training: started here (`train.num_processes`), or by the user's own launcher, such as torchrun
or accelerate, which is known by the variables that it sets.

Rank 0 leads: it alone writes and speaks. The others compute their share.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from drp.config.sections import TrainSettings
from drp.errors import ConfigError, DrpError

T = TypeVar("T")

GRACE_S = 10.0
"""What the other processes get to end by themselves once one has failed."""


def is_launched() -> bool:
    """Whether this process is one of several that a launcher started."""
    return "LOCAL_RANK" in os.environ


def leads() -> bool:
    return not is_launched() or os.environ.get("RANK", "0") == "0"


def count_processes(settings: TrainSettings) -> int:
    return int(os.environ.get("WORLD_SIZE", "1")) if is_launched() else settings.num_processes


def check_processes(settings: TrainSettings) -> None:
    """Raises ConfigError where this many processes cannot share the work of a step, or this machine has no room."""
    import torch

    n = count_processes(settings)
    if settings.gradient_accumulation % n:
        raise ConfigError(
            f"train.gradient_accumulation: {settings.gradient_accumulation} micro-batches a step cannot be shared by "
            f"{n} processes; make it a multiple of {n}, with a train.batch_size that keeps their product"
        )
    if settings.strategy == "fsdp" and n == 1:
        raise ConfigError("train.strategy: `fsdp` cuts a model up over several processes; set train.num_processes")
    if settings.strategy == "fsdp" and settings.method == "qlora":
        raise ConfigError("train.strategy: `fsdp` does not cut up weights of 4 bits; use `ddp` with train.method=qlora")
    n_gpus = torch.cuda.device_count()
    if not is_launched() and 0 < n_gpus < n:
        raise ConfigError(f"train.num_processes: {n}, but this machine has {n_gpus} GPUs; each process needs its own")


def join() -> Any:
    """Meet the other processes, if there are any. Returns this one's torch.device."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available()).device


def share(value: T) -> T:
    """The leader's value, in every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]  # type: ignore[no-any-return]


def run_ranks(n: int, work: Callable[..., T], *arguments: Any) -> T:
    """Call `work` in `n` new processes at once, with torch.distributed's variables set. Returns what rank 0 returned.

    Raises what a rank raised on purpose (DrpError); KeyboardInterrupt after all of them have stopped.
    """
    import torch
    from accelerate.utils import PrepareForLaunch, patch_environment
    from torch.multiprocessing import get_context
    from torch.multiprocessing.spawn import start_processes

    outcomes = get_context("spawn").SimpleQueue()
    kind = "MULTI_GPU" if torch.cuda.is_available() else "MULTI_CPU"
    threads = os.environ.get("OMP_NUM_THREADS", max(1, (os.cpu_count() or 1) // n))
    with patch_environment(
        world_size=n, master_addr="127.0.0.1", master_port=_find_port(), omp_num_threads=threads
    ):  # read by the new processes as they start
        start = PrepareForLaunch(_work, kind)
        processes = start_processes(  # type: ignore[no-untyped-call]
            start, (outcomes, work, arguments), nprocs=n, join=False
        )
    failure = _wait(processes)
    found = []
    while not outcomes.empty():
        found.append(outcomes.get())
    errors = [outcome for outcome in [*found, failure] if isinstance(outcome, BaseException)]
    if errors:
        raise errors[0]
    [result] = found
    return result  # type: ignore[no-any-return]


def _work(outcomes: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What a new process does."""
    from torch.multiprocessing.spawn import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

    # A killed leader's lock is free at once: nobody may go on writing where the next run already is.
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    try:
        outcome = work(*arguments)
    except (DrpError, KeyboardInterrupt) as error:
        outcomes.put(error)
        sys.exit(getattr(error, "exit_status", 130))
    if leads():
        outcomes.put(outcome)


def _wait(processes: Any) -> BaseException | None:
    """Until all have ended. Returns why they did not end well, in case no rank can say."""
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    interrupted = False
    while True:
        try:
            if processes.join(grace_period=GRACE_S):
                return None
        except KeyboardInterrupt:
            interrupted = True  # a terminal has told them too; whoever stops `drp` alone has not
            for process in processes.processes:
                if process.is_alive():
                    process.terminate()
        except ProcessRaisedException as error:
            return KeyboardInterrupt() if interrupted else error
        except ProcessExitedException as error:
            return KeyboardInterrupt() if interrupted else DrpError(_explain(error))


def _explain(error: Any) -> str:
    end = f"was killed ({error.signal_name})" if error.signal_name else f"ended with status {error.exit_code}"
    hint = "; most often for want of memory: look at `drp train --preview`" if error.signal_name == "SIGKILL" else ""
    return f"train: process {error.error_index} {end}{hint}; the same command goes on from the last checkpoint"


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
