"""A ChatClient that takes every reply from the store and asks nobody: no key, no network, no money.

What `--reparse` reads with, after a parser or a check was put right.
"""

from collections.abc import Sequence

from drp.chat.base import Message, Reply
from drp.chat.ledger import read_stored
from drp.chat.store import ReplyStore, identify_request
from drp.errors import RecordError
from drp.settings import TeacherSettings


class StoredClient:
    """address: where the requests went when they were paid for."""

    def __init__(self, settings: TeacherSettings, store: ReplyStore, address: str) -> None:
        self.model = settings.model or ""
        self._settings, self._store, self._address = settings, store, address

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """The stored reply. Raises RecordError where there is none."""
        key = identify_request(self._settings, self._address, messages)
        stored = self._store.find(key)
        if stored is None:
            message = f"{self._store.path} has no reply to this request; run without --reparse to ask for it"
            raise RecordError(message, reason="no stored reply")
        return read_stored(stored)

    async def close(self) -> None:
        self._store.close()
