"""What replies cost: each is counted, stored and held against the cap before anything else happens to it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from drp.chat.base import Message, Reply
from drp.chat.budget import Budget
from drp.chat.prices import Price
from drp.chat.store import ReplyStore, StoredReply
from drp.chat.wire import Answer, count_roughly
from drp.records import Usage
from drp.settings import TeacherSettings


class Ledger:
    """The replies of a run directory and the money that they took.

    price: of one call; None where it is unknown. paid: what this process paid for. budget: `teacher.max_cost_usd`.
    """

    def __init__(self, settings: TeacherSettings, store: ReplyStore, price: Price | None) -> None:
        self.store, self.paid = store, Usage(cost_usd=0.0 if price else None)
        self.budget = Budget(settings.max_cost_usd, _count_spent(store, price), settings.place)
        self._settings, self._price = settings, price

    @property
    def spent_usd(self) -> float | None:
        """Dollars so far, earlier runs in this directory included; None where the price is unknown."""
        return self.budget.spent_usd if self._price else None

    def keep(self, key: str, answer: Answer, stage: str | None = None) -> StoredReply:
        """Count and store an answer. stage: who asked; None: the store's own."""
        cost_usd = self._price(answer.input_tokens, answer.output_tokens) if self._price else None
        usage = Usage(calls=1, input_tokens=answer.input_tokens, output_tokens=answer.output_tokens, cost_usd=cost_usd)
        self.budget.spend(cost_usd or 0.0)
        self.paid += usage
        reply = StoredReply(
            id=key,
            provider=self._settings.provider,
            model=self._settings.model or "",
            text=answer.text,
            finish_reason=answer.finish,
            usage=usage,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            raw=answer.raw,
            stage=stage,
        )
        self.store.append(reply)
        return reply

    def find_worst_usd(self, messages: Sequence[Message]) -> float:
        """Dollars that a call may take at most: input tokens on the safe side, output up to the limit."""
        if self.budget.cap_usd is None or not self._price:
            return 0.0
        return self._price(count_roughly(messages, 3), self._settings.max_output_tokens)


def read_stored(stored: StoredReply) -> Reply:
    assert stored.finish_reason != "empty"
    return Reply(stored.text, stored.finish_reason, stored.usage)


def _count_spent(store: ReplyStore, price: Price | None) -> float:
    """Dollars spent in the run directory; what was paid before the price was known counts at today's price."""
    unpriced = store.unpriced
    return store.spent_usd + (price(unpriced.input_tokens, unpriced.output_tokens) if price else 0.0)
