"""Torch's threads on a CPU.

Torch's OpenMP threads spin while they wait for each other. A model of a few million parameters gains little from a
second thread, and where another process wants the same core it loses tenfold: 560 against 6,500 tokens/s were measured
for the tiny student beside one busy process on 2 cores.
"""

import os
from collections.abc import Callable

SMALL_MODEL_PARAMETERS = 50_000_000
"""Below this one thread samples as fast as several."""


def limit_threads(n_parameters: int | None) -> Callable[[], None]:
    """Give torch one thread for a small model; OMP_NUM_THREADS, where the user set it, stays.

    n_parameters: None where unknown: nothing is changed.
    Returns what puts things back, also after vLLM, which leaves `torch.set_num_threads` dead behind it.
    """
    import torch

    set_threads, before = torch.set_num_threads, torch.get_num_threads()

    def restore() -> None:
        torch.set_num_threads = set_threads
        torch.set_num_threads(before)

    if n_parameters is not None and n_parameters < SMALL_MODEL_PARAMETERS and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return restore
