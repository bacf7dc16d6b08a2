"""Requests as the provider wants them in a file, one a line:

{"custom_id": "9f2c...", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": ...}}

`custom_id` is the request's hash: what comes back is matched by it, whatever the order and whichever stage asked.
"""

import hashlib
from pathlib import Path
from typing import Literal

from drp.artifacts import explain_os_errors
from drp.settings import BatchSettings

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"


class Draft:
    """A file that is being filled, within the limits of `settings`.

    keys: of the requests in it. worst_usd: what they may cost at most.
    """

    def __init__(self, id: str, path: Path, settings: BatchSettings, max_requests: int) -> None:
        self.id, self.path = id, path
        self.keys: list[str] = []
        self.n_bytes, self.worst_usd = 0, 0.0
        self._max_requests, self._max_bytes = min(max_requests, settings.max_requests), settings.max_bytes
        self._sha = hashlib.sha256()
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")

    @property
    def sha256(self) -> str:
        return self._sha.hexdigest()

    def add(self, key: str, body: bytes, worst_usd: float) -> bool:
        """Add a request; False where the file has no room for it."""
        line = b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}\n' % (key.encode(), ENDPOINT.encode(), body)
        if len(self.keys) >= self._max_requests or self.n_bytes + len(line) > self._max_bytes:
            return False
        with explain_os_errors(self.path):
            self._file.write(line)
        self._sha.update(line)
        self.keys.append(key)
        self.n_bytes += len(line)
        self.worst_usd += worst_usd
        return True

    def close(self) -> None:
        with explain_os_errors(self.path):
            self._file.close()
        if not self.keys:
            self.path.unlink(missing_ok=True)
