r"""Compare an answer with the gold one by math-verify. Runs in the grading workers only.

    compare(r"\frac{26}{30}", r"\frac{13}{15}")     True
    compare("3", r"\frac{")                        None: the gold answer cannot be parsed

sympy catches some MemoryErrors itself; an answer that reaches the memory limit there is wrong instead of not gradable.
"""

import functools
import os
import signal
from pathlib import Path
from typing import Any

from drp.grading.forms import is_words


def prepare(memory_mib: int) -> None:
    """Initialise a worker: set its memory limit, load math-verify, and discard its output."""
    import logging
    import resource

    # The limit counts from what is mapped now, which is much if the program's main module imports torch.
    limit = _mapped_bytes() + (memory_mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # pebble's handler is Python code, which would only run after, say, a multiplication of gigabytes has ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)
    compare("1", "2")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)


def compare_within(limit_s: float, predicted: str, gold: str) -> bool | None:
    """`compare`, but the kernel kills this process after `limit_s` seconds of CPU time.

    CPU time is used so that the verdict does not depend on how busy the machine is. A signal without a handler needs no
    Python code to run, so it also ends a single computation of gigabytes, and works after the parent was killed.
    """
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    verdict = compare(predicted, gold)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return verdict


def compare(predicted: str, gold: str) -> bool | None:
    """Whether two tidy answers are equal; None if the gold one is neither mathematics nor words, or memory ran out.

    math-verify's own time limits (SIGALRM) are switched off, because they report a time-out as wrong.
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
    """Whether math-verify took them for equal only because it rounds to six decimals, as 1/2004! and 1/2006!."""
    if not (getattr(gold, "is_number", False) and getattr(predicted, "is_number", False)):
        return False
    try:
        size = max(abs(gold.evalf(30)), abs(predicted.evalf(30)))
        return bool(size < 1e-3 and abs((gold - predicted).evalf(30)) > size * 1e-3)
    except (TypeError, ValueError, ArithmeticError):  # no finite value
        return False


@functools.lru_cache(maxsize=1024)
def _parse_gold(gold: str) -> list[Any]:
    return _parse(gold)


def _parse(answer: str) -> list[Any]:
    """math-verify's parses of the answer, without the failed ones, which are plain strings."""
    from math_verify import parse

    parsed = parse(rf"\boxed{{{answer}}}", _configs(), fallback_mode="no_fallback", parsing_timeout=None)
    return [item for item in parsed if not isinstance(item, str)]


@functools.cache
def _configs() -> tuple[Any, ...]:
    """As in open-r1: a box first, then LaTeX and plain expressions."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    return (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())


def _mapped_bytes() -> int:
    """Address space in use; 0 if unknown (on macOS, which does not enforce the limit either)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
