"""The processes of one training: started here (`train.num_processes`), or by the user's own launcher, such as torchrun
or accelerate, which is recognized by the environment variables that it sets.

The main process is rank 0: only it writes files and messages. The others compute their share of each step.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

from drp.config.sections import TrainSettings
from drp.errors import ConfigError, DrpError, MissingExtra
from drp.runs.progress import say
from drp.student.gpu import require_usable_gpu

T = TypeVar("T")

GRACE_S = 10.0
"""How long the other processes may take to end by themselves after one has failed, before they are killed."""


def is_launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return "LOCAL_RANK" in os.environ


def is_main_process() -> bool:
    return not is_launched() or os.environ.get("RANK", "0") == "0"


def count_processes(settings: TrainSettings) -> int:
    return int(os.environ.get("WORLD_SIZE", "1")) if is_launched() else settings.num_processes


def check_machine(settings: TrainSettings) -> None:
    """Raises ConfigError or MissingExtra if the settings do not fit together, or this machine cannot do what they ask;
    UserError if it has a GPU that torch cannot use. Imports torch only to ask for GPUs."""
    n = count_processes(settings)
    if settings.gradient_accumulation % n:
        raise ConfigError(
            f"train.gradient_accumulation: {settings.gradient_accumulation} micro-batches per step cannot be divided "
            f"among {n} processes; make it a multiple of {n}, with a train.batch_size that keeps their product"
        )
    if settings.strategy == "fsdp" and n == 1:
        raise ConfigError("train.strategy: `fsdp` shards a model over several processes; set train.num_processes")
    if settings.strategy == "fsdp" and settings.method == "qlora":
        raise ConfigError("train.strategy: `fsdp` cannot shard weights of 4 bits; use `ddp` with train.method=qlora")
    if settings.method == "qlora" and find_spec("bitsandbytes") is None:
        raise MissingExtra(
            "train.method: `qlora` needs bitsandbytes: pip install 'drp-reasoning[qlora]'; or use `lora`"
        )
    if settings.liger and find_spec("liger_kernel") is None:
        raise MissingExtra("train.liger: needs Liger's kernels: pip install 'drp-reasoning[liger]'; or set it to false")
    require_usable_gpu(start_cuda=True)
    if settings.liger or (n > 1 and not is_launched()):
        _check_gpus(settings)


def _check_gpus(settings: TrainSettings) -> None:
    import torch

    n_gpus = torch.cuda.device_count()
    if settings.liger and not n_gpus:
        raise ConfigError("train.liger: its kernels need a GPU; set it to false")
    if not is_launched() and 0 < n_gpus < settings.num_processes:
        raise ConfigError(
            f"train.num_processes: {settings.num_processes} processes need a GPU each, but this machine has {n_gpus}"
        )


def connect_processes() -> Any:
    """Connect to the other processes, if there are any. Returns this process's torch.device."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available()).device


def broadcast(value: T) -> T:
    """Returns the main process's value in every process. Every process has to call it."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]  # type: ignore[no-any-return]


def launch_processes(n: int, work: Callable[..., T], *arguments: Any) -> T:
    """Call `work` in `n` new processes with torch.distributed's environment variables. Returns rank 0's result.

    Raises the DrpError that a process raised, a DrpError if one was killed or failed in another way, and
    KeyboardInterrupt, once all processes have ended.
    """
    import torch
    from accelerate.utils import PrepareForLaunch, patch_environment
    from torch.multiprocessing import get_context
    from torch.multiprocessing.spawn import start_processes

    outcomes = get_context("spawn").SimpleQueue()
    kind = "MULTI_GPU" if torch.cuda.is_available() else "MULTI_CPU"
    threads = os.environ.get("OMP_NUM_THREADS", max(1, (os.cpu_count() or 1) // n))
    # The new processes read these variables as they start.
    with patch_environment(world_size=n, master_addr="127.0.0.1", master_port=_find_port(), omp_num_threads=threads):
        start = PrepareForLaunch(_run_process, kind)
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


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _run_process(outcomes: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Runs in each new process: puts its DrpError or KeyboardInterrupt, or rank 0's result, into `outcomes`."""
    from torch.multiprocessing.spawn import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

    # If the parent is killed, its lock on the run directory is released at once: this process must not go on writing
    # to files that the next run opens.
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    try:
        outcome = work(*arguments)
    except (DrpError, KeyboardInterrupt) as error:
        outcomes.put(error)
        sys.exit(getattr(error, "exit_status", 130))
    if is_main_process():
        outcomes.put(outcome)


def _wait(processes: Any) -> BaseException | None:
    """Wait until all processes have ended. Returns an error if one of them failed, for the case that it put none into
    the queue itself."""
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    interrupted = False
    while True:
        try:
            if processes.join(grace_period=GRACE_S):
                return None
        except KeyboardInterrupt:
            # A terminal sends Ctrl-C to all processes, but `kill` reaches this one only.
            interrupted = True
            for process in processes.processes:
                if process.is_alive():
                    process.terminate()
        except ProcessRaisedException as error:
            return KeyboardInterrupt() if interrupted else DrpError(_describe_exception(error))
        except ProcessExitedException as error:
            return KeyboardInterrupt() if interrupted else DrpError(_describe_exit(error))


def _describe_exception(error: Any) -> str:
    """Says the process's traceback on stderr. Returns its last line, and what to do about it."""
    trace = str(error).strip()
    say(trace)
    hint = ""
    if "NCCL" in trace:
        hint = "; the GPUs could not exchange data: NCCL_DEBUG=INFO shows why, NCCL_P2P_DISABLE=1 avoids direct links"
    return f"train: process {error.error_index} failed: {trace.splitlines()[-1]}{hint}"


def _describe_exit(error: Any) -> str:
    end = f"was killed ({error.signal_name})" if error.signal_name else f"ended with status {error.exit_code}"
    hint = ""
    if error.signal_name == "SIGKILL":
        hint = "; often because the machine's memory ran out: each process holds the model, so set fewer "
        hint += "train.num_processes, or see `drp train --preview`"
    return f"train: process {error.error_index} {end}{hint}; the same command resumes from the last checkpoint"
