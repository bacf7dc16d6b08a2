"""kill -9 in the middle of a run: the rerun sends only requests without a stored reply."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from drp.chat.wire import Reply
from tests.chat.conftest import ask, open_teacher
from tests.loopback import LoopbackServer

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = [f"question {i}" for i in range(60)]
IN_FLIGHT = 5
PROGRAM = """
import sys
from pathlib import Path
from tests.chat import test_client_kill
test_client_kill.work(int(sys.argv[1]), Path(sys.argv[2]))
"""


def work(port: int, path: Path) -> None:
    server = LoopbackServer(port=port)  # never started here: only its address is used
    ask(lambda: open_teacher(server, path, concurrency=IN_FLIGHT), QUESTIONS)


def test_a_rerun_after_kill_9_pays_only_for_what_is_missing(path: Path) -> None:
    with LoopbackServer(lambda messages: messages[-1][1] * 3, latency_s=0.05) as server:
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(server.port), str(path)], cwd=ROOT)
        deadline = time.monotonic() + 60
        while server.n_completed < 20 and time.monotonic() < deadline:
            time.sleep(0.005)
        child.kill()
        child.wait()
        time.sleep(0.2)  # for replies that the server was sending
        whole_lines = path.read_bytes().split(b"\n")[:-1]
        n_stored, n_before = len(whole_lines), len(server.requests)
        assert n_stored >= 10
        results = ask(lambda: open_teacher(server, path, concurrency=IN_FLIGHT), QUESTIONS)

    assert all(isinstance(result, Reply) for result in results)
    assert len(server.requests) - n_before == len(QUESTIONS) - n_stored
    twice = [text for text, n in Counter(r.question.messages[-1][1] for r in server.requests).items() if n > 1]
    assert len(twice) <= IN_FLIGHT, "only what was in flight at the kill is asked again"
    assert len({json.loads(line)["id"] for line in path.read_text().splitlines()}) == len(QUESTIONS)
