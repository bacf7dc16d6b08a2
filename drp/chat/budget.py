"""The cap on dollars: `teacher.max_cost_usd`.

Each call sets its worst case aside before it is sent (input tokens on the safe side, output up to the limit) and puts
the real cost in its place afterwards. A call that does not fit waits for those in flight, which cost less than was set
aside. So near the cap there are fewer and fewer calls at once, and the run ends when the next one alone might pass it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drp.errors import UserError


class CostCapReached(UserError):
    """The next call might cost more than `teacher.max_cost_usd` leaves. All replies are kept."""


class Budget:
    """spent_usd: dollars spent so far, earlier runs in this directory included. place: the section that has the cap."""

    def __init__(self, cap_usd: float | None, spent_usd: float, place: str = "teacher") -> None:
        self.cap_usd, self.spent_usd, self._place = cap_usd, spent_usd, place
        self._reserved: list[float] = []
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, worst_usd: float) -> AsyncIterator[None]:
        """Hold the worst case of one call while it is in flight. Raises CostCapReached where it can't fit any more."""
        if self.cap_usd is None:
            yield
            return
        while not self.fits(worst_usd):
            self.check(worst_usd)
            await self._settled.wait()
        self.hold(worst_usd)
        try:
            yield
        finally:
            self.release(worst_usd)

    def fits(self, worst_usd: float) -> bool:
        """Whether a call may be sent now."""
        return self.cap_usd is None or self.spent_usd + sum(self._reserved) + worst_usd <= self.cap_usd

    def check(self, worst_usd: float) -> None:
        """Raise CostCapReached where a call does not fit and nothing is in flight that could make room."""
        if not self._reserved and not self.fits(worst_usd):
            raise CostCapReached(self._explain(worst_usd))

    def hold(self, worst_usd: float) -> None:
        self._reserved.append(worst_usd)

    def release(self, worst_usd: float) -> None:
        self._reserved.remove(worst_usd)
        self._settled.set()
        self._settled = asyncio.Event()

    def spend(self, cost_usd: float) -> None:
        self.spent_usd += cost_usd

    def _explain(self, worst_usd: float) -> str:
        cap = f"{self._place}.max_cost_usd"
        return (
            f"{cap} is {self.cap_usd:g}; ${self.spent_usd:.4f} is spent, and the next call might cost "
            f"up to ${worst_usd:.4f}. All replies are kept: raise {cap} and run this again to go on."
        )
