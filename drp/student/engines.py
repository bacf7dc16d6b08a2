"""Engines in processes of their own: `engine.data_parallel_size` of them, each on its own GPUs, fed from one queue.

    this process                                 process of an engine
    requests, a few more than it can work on  ->  sampler.sample_tokens(...)
    decodes, grades and writes                <-  the tokens of one response

Only the end of its process frees all memory of an engine: the next one, for another model, finds it free. And while the
engine computes, this process decodes, grades and writes. If an engine ends, killed or out of memory, the others get its
requests.
"""

import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from drp.config.sections import EngineSettings, SamplingSettings, StudentSettings
from drp.errors import ConfigError, DrpError, UserError, first_line
from drp.runs.progress import say
from drp.student.base import (
    Completion,
    GeneratedTokens,
    Rejection,
    Sampler,
    SamplingRequest,
    derive_seed,
    find_advice,
    read_completion,
)
from drp.student.gpu import find_gpus
from drp.student.response import load_format
from drp.student.sampler import choose_backend, open_sampler, set_environment
from drp.student.transformers import WINDOW_BATCHES

GRACE_S = 15.0
"""How long an engine may take to end by itself."""
MAX_DEATHS = 2
"""A request that was in flight when so many engines ended is not tried again in this run."""


def open_engines(
    student: StudentSettings,
    engine: EngineSettings,
    sampling: SamplingSettings,
    seed: int,
    *,
    adapter: str | None = None,
) -> Sampler:
    """Start what `engine` asks for: vLLM and several engines in processes of their own, else as `open_sampler` does.

    student: the model to sample, which may be any other model to evaluate, and how it is prompted.
    Raises as `open_sampler` and `load_format` do; ConfigError also if there are too few GPUs for
    `engine.data_parallel_size`.
    """
    backend = choose_backend(engine)
    if backend == "server" or (backend == "transformers" and engine.data_parallel_size == 1):
        return _open(student, engine, sampling, seed, adapter)
    return EngineProcesses(student, engine, sampling, seed, adapter)


def _open(
    student: StudentSettings,
    engine: EngineSettings,
    sampling: SamplingSettings,
    seed: int,
    adapter: str | None,
) -> Sampler:
    return open_sampler(
        student.model,
        engine,
        sampling,
        seed,
        revision=student.revision,
        trust_remote_code=student.trust_remote_code,
        format=load_format(student, adapter),
        adapter=adapter,
    )


class EngineProcesses:
    """`engine.data_parallel_size` engines with the same model, as one `Sampler`.

    Raises what `open_sampler` raises, and UserError if a process ends while it starts.
    """

    def __init__(
        self,
        student: StudentSettings,
        engine: EngineSettings,
        sampling: SamplingSettings,
        seed: int,
        adapter: str | None = None,
    ) -> None:
        # It must be more than a sampler takes before it returns the first response. The rest waits in the engine's
        # process, so that the engine need not wait for this one.
        n_taken = engine.max_num_seqs if choose_backend(engine) == "vllm" else engine.batch_size * WINDOW_BATCHES
        self._max_in_flight = n_taken + max(8, n_taken // 4)
        self._engines: list[_EngineProcess] = []
        n_engines = engine.data_parallel_size
        devices = divide_devices(n_engines, engine.tensor_parallel_size * engine.pipeline_parallel_size)
        try:
            for number, environment in enumerate(devices):
                own_seed = derive_seed(seed, f"engine {number}") if number else seed
                arguments = (student, engine, sampling, own_seed, adapter)
                self._engines.append(_EngineProcess.start(number, arguments, environment))
            self.format = load_format(student, adapter)
            for process in self._engines:
                process.await_start()
        except BaseException:
            self.close()
            raise

    def sample(self, requests: Iterator[SamplingRequest]) -> Iterator[Completion | Rejection]:
        """Sample one response for each request, in the order in which they finish.

        Raises the last engine's error if all have ended. If the iteration is left early, the engines are ended.
        """
        returned: deque[SamplingRequest] = deque()
        deaths: Counter[str] = Counter()
        is_finished = False
        try:
            while True:
                self._distribute(returned, requests)
                busy = {engine.connection: engine for engine in self._engines if engine.in_flight}
                if not busy:
                    break
                for connection in wait(list(busy)):
                    engine = busy[connection]  # type: ignore[index]
                    message = engine.receive()
                    if message is None or isinstance(message, DrpError):
                        yield from self._retire(engine, message, returned, deaths)
                    else:
                        del engine.in_flight[message.id]
                        yield message if isinstance(message, Rejection) else read_completion(message, self.format)
            is_finished = True
        finally:
            if not is_finished:
                self.close()

    def close(self) -> None:
        """End the processes. A second call does nothing."""
        engines, self._engines = self._engines, []
        for engine in engines:
            engine.process.terminate()
        for engine in engines:
            engine.end()

    def _distribute(self, returned: deque[SamplingRequest], requests: Iterator[SamplingRequest]) -> None:
        """Give the engines as many requests as they may have, evenly; first those of engines that have ended."""
        is_exhausted = False
        while not is_exhausted:
            engine = min(self._engines, key=lambda engine: len(engine.in_flight))
            if len(engine.in_flight) >= self._max_in_flight:
                break
            request = returned.popleft() if returned else next(requests, None)
            if request is None:
                is_exhausted = True
            else:
                engine.add(request)
        for engine in self._engines:
            engine.flush(is_last=is_exhausted)

    def _retire(
        self,
        engine: "_EngineProcess",
        error: DrpError | None,
        returned: deque[SamplingRequest],
        deaths: Counter[str],
    ) -> Iterator[Rejection]:
        """Take back the requests of an engine that has ended. error: what it reported; None if it could not."""
        self._engines.remove(engine)
        engine.end()
        problem = error or engine.explain_end()
        if not self._engines:
            raise problem
        say(f"{problem}; its {len(engine.in_flight)} requests go to the other engines")
        for request in engine.in_flight.values():
            deaths[request.id] += 1
            if deaths[request.id] < MAX_DEATHS:
                returned.append(request)
            else:
                yield Rejection(request.id, f"in flight when {MAX_DEATHS} engines ended: {problem}", "engine ended")


_READY = "ready"
"""Sent by an engine that has loaded its model."""


@dataclass(eq=False)
class _EngineProcess:
    """The process of an engine, as this process sees it."""

    number: int
    process: BaseProcess
    connection: Connection
    in_flight: dict[str, SamplingRequest] = field(default_factory=dict)
    """Requests without a response yet, by id."""
    _unsent: list[SamplingRequest] = field(default_factory=list)
    _has_stream: bool = False
    """Whether it has been sent requests, and not yet that there are no more."""

    @classmethod
    def start(cls, number: int, arguments: tuple[Any, ...], environment: dict[str, str]) -> "_EngineProcess":
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # Not a daemon, because vLLM starts worker processes for tensor parallelism.
        process = context.Process(target=_run_engine, args=(theirs, arguments, environment), name=f"engine-{number}")
        process.start()
        theirs.close()
        return cls(number, process, ours)

    def add(self, request: SamplingRequest) -> None:
        self.in_flight[request.id] = request
        self._unsent.append(request)

    def flush(self, *, is_last: bool) -> None:
        """Send the added requests, and if they are the last, that there are no more."""
        messages: list[list[SamplingRequest] | None] = [self._unsent] if self._unsent else []
        self._has_stream = self._has_stream or bool(messages)
        if is_last and self._has_stream:
            messages.append(None)
            self._has_stream = False
        self._unsent = []
        try:
            for message in messages:
                self.connection.send(message)
        except OSError:  # it has ended, which `receive` reports
            pass

    def await_start(self) -> None:
        """Wait until it has loaded its model. Raises the error with which it ends otherwise."""
        message: Any = self.receive()
        if message != _READY:
            raise message or self.explain_end()

    def receive(self) -> GeneratedTokens | Rejection | DrpError | None:
        """Wait for its next message; None if it has ended."""
        try:
            message: GeneratedTokens | Rejection | DrpError = self.connection.recv()
        except (EOFError, OSError):
            return None
        return message

    def end(self) -> None:
        """Wait for its end, and kill it if that takes long."""
        self.process.join(GRACE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()

    def explain_end(self) -> UserError:
        """What to say of an engine that has ended without a message."""
        self.process.join(GRACE_S)
        code = self.process.exitcode
        if code == -signal.SIGKILL:
            return UserError(
                f"engine {self.number} was killed (signal 9), as the system does when the machine's memory is full: "
                "lower engine.data_parallel_size, engine.cpu_kvcache_gib or engine.batch_size, or free memory"
            )
        how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
        return UserError(f"engine {self.number} ended {how} without a message; see what it printed above")


def divide_devices(n_engines: int, gpus_per_engine: int) -> list[dict[str, str]]:
    """The environment variables that give each engine its own GPUs, or on a machine without one its share of the cores.

    Raises ConfigError if there are too few GPUs. A single engine gets what this process has.
    """
    if n_engines == 1:
        return [{}]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(place) for place in range(len(find_gpus()))] if visible is None else [*filter(None, visible.split(","))]
    if not gpus:
        n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, n_cores // n_engines)))
        return [{"OMP_NUM_THREADS": threads}] * n_engines
    if len(gpus) < n_engines * gpus_per_engine:
        raise ConfigError(
            f"engine.data_parallel_size: {n_engines} engines of {gpus_per_engine} GPUs need "
            f"{n_engines * gpus_per_engine}, but there are {len(gpus)}"
        )
    starts = range(0, n_engines * gpus_per_engine, gpus_per_engine)
    return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[start : start + gpus_per_engine])} for start in starts]


def _run_engine(connection: Connection, arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    """The main function of an engine's process: load the model, then answer one stream of requests after another."""
    os.environ.update(environment)
    set_environment()  # before anything imports torch
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.dup2(2, 1)  # stdout is for the parent's results
    inbox: queue.SimpleQueue[list[SamplingRequest] | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    try:
        sampler: Any = _open(*arguments)
        with closing(sampler):
            connection.send(_READY)
            while True:
                for outcome in sampler.sample_tokens(_read_stream(inbox)):
                    connection.send(outcome)
    except DrpError as error:
        connection.send(error)
    except Exception as error:
        connection.send(_explain(error))


def _receive(connection: Connection, inbox: "queue.SimpleQueue[list[SamplingRequest] | None]") -> None:
    """Put messages into the inbox, so that the parent never waits to send one. When the parent has ended, end."""
    parent = os.getppid()
    try:
        while True:
            if connection.poll(1.0):
                inbox.put(connection.recv())
            elif os.getppid() != parent:  # in case a forked process holds the other end of the connection open
                break
    except (EOFError, OSError):
        pass
    os._exit(1)


def _read_stream(inbox: "queue.SimpleQueue[list[SamplingRequest] | None]") -> Iterator[SamplingRequest]:
    while (batch := inbox.get()) is not None:
        yield from batch


def _explain(error: Exception) -> DrpError:
    advice = find_advice(error)
    if advice is None:
        traceback.print_exception(error)
    text = f"{type(error).__name__}: {first_line(error)}"
    return UserError(f"the engine failed ({text}): {advice}") if advice else DrpError(f"the engine failed ({text})")
