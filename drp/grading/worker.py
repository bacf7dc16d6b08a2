r"""Compare one answer with the gold one by math-verify: what runs in the worker processes, and only there.

    judge(r"\frac{26}{30}", r"\frac{13}{15}")     True
    judge("3", r"\frac{")                        None: the gold answer cannot be parsed

sympy swallows some MemoryErrors of its own; an answer that runs into the memory limit is then wrong, not ungradable.
"""

import functools
import os
import signal
from pathlib import Path
from typing import Any

from drp.grading.forms import is_words


def prepare(memory_mib: int) -> None:
    """Set a worker up: a memory limit, silence, and math-verify in memory."""
    import logging
    import resource

    # On top of what is mapped already, which may be much where the program's main module imports torch.
    limit = _mapped_bytes() + (memory_mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The pool's own handler would have to wait for the end of a multiplication of gigabytes.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)
    judge("1", "2")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)


def judge_for(limit_s: float, predicted: str, gold: str) -> bool | None:
    """`judge`, with the kernel ending this process after `limit_s` seconds of its CPU time.

    CPU time, so that a busy machine does not make answers ungradable. An unhandled signal needs no Python code to run,
    so this ends even a power of gigabytes, and still does when the parent was killed.
    """
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    verdict = judge(predicted, gold)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return verdict


def judge(predicted: str, gold: str) -> bool | None:
    """Whether two tidy answers are equal. None: the gold one is neither mathematics nor words, or memory ran out.

    There is no time limit in here. math-verify's own (SIGALRM) are switched off: they report a time-out as wrong.
    """
    from math_verify import verify

    try:
        expected = _parse_gold(gold)
        if not expected:
            return False if is_words(gold) else None
        found = _parse(predicted)
        if not found or not verify(expected, found, timeout_seconds=None, allow_set_relation_comp=True):
            return False
        return not _are_tiny_and_unequal(expected[0], found[0])
    except (MemoryError, RecursionError):
        return None


def _are_tiny_and_unequal(gold: Any, predicted: Any) -> bool:
    """math-verify rounds to six decimals, so that 1/2004! equals 1/2006! and .0000672 equals .0000668."""
    if not (getattr(gold, "is_number", False) and getattr(predicted, "is_number", False)):
        return False
    try:
        size = max(abs(gold.evalf(30)), abs(predicted.evalf(30)))
        return bool(size < 1e-3 and abs((gold - predicted).evalf(30)) > size * 1e-3)
    except (TypeError, ValueError, ArithmeticError):  # no finite value; math-verify's word stands
        return False


@functools.lru_cache(maxsize=1024)
def _parse_gold(gold: str) -> list[Any]:
    return _parse(gold)


def _parse(answer: str) -> list[Any]:
    """What math-verify made of the answer, its failed parses (plain strings) left out."""
    from math_verify import parse

    parsed = parse(rf"\boxed{{{answer}}}", _configs(), fallback_mode="no_fallback", parsing_timeout=None)
    return [item for item in parsed if not isinstance(item, str)]


@functools.cache
def _configs() -> tuple[Any, ...]:
    """open-r1's practice: a box first, LaTeX and plain expressions after it."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    return (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())


def _mapped_bytes() -> int:
    """Address space in use; 0 where the system does not tell (macOS, which does not enforce the limit either)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
