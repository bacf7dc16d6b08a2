"""What all tests share."""

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from drp.cli import main

REPOSITORY = Path(__file__).parents[1]
IS_PARALLEL = "PYTEST_XDIST_WORKER" in os.environ

if IS_PARALLEL:
    # Before anything imports torch: the tests of one process compute while those of another do.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need vLLM if it is not installed; with CI set they run, and fail. `pytest -n 2` runs long ones
    first."""
    if importlib.util.find_spec("vllm") is None and not os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("vllm"):
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed (with CI set, this is a failure)"))
    if IS_PARALLEL:
        items.sort(key=lambda item: (not item.get_closest_marker("vllm"), not item.get_closest_marker("slow")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `pytest -n 2`: the tests of a file run in one process, which makes their fixtures once, and those that need
    vLLM in one too, as each of its engines takes a GiB or more."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "vllm" if "vllm" in nodeid else nodeid.split("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts without protected keys: another's would be removed from its texts."""
    monkeypatch.setattr("drp.credentials._protected", [])


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Write dictionaries as JSONL; strings go in as they are."""

    def write(name: str, *lines: dict[str, Any] | str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines]
        path.write_text("".join(texts))
        return path

    return write


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def drp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process."""

    def run(*arguments: object) -> Ended:
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["drp", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGTERM, before)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return run


THINKING = (
    "Okay, so I need to find how many apples Ann has.\n\nFirst, 3 x 4 = 12 apples.\n\n"
    "Wait, let me double-check that: 3 x 4 = 12. Yes, that's right.\n\nSo Ann has 12 apples."
)
RESPONSE = f"{THINKING}\n</think>\n\nAnn has 3 bags of 4 apples, so the answer is \\boxed{{12}}."


def trace(**changes: Any) -> dict[str, Any]:
    """A good trace, with changes."""
    good = {
        "id": "p-0#0",
        "problem_id": "p-0",
        "question": "Ann has 3 bags of 4 apples. How many apples?",
        "answer": "12",
        "response": RESPONSE,
        "thinking": THINKING,
        "summary": RESPONSE.split("</think>")[1].strip(),
        "predicted": "12",
        "correct": True,
        "finish_reason": "stop",
        "n_tokens": 60,
        "model": "m",
    }
    return {**good, **changes}
