"""A server on 127.0.0.1 in place of a provider, for tests and benchmarks; `python -m tests.loopback` runs it alone."""

from tests.loopback.batches import BatchPlan
from tests.loopback.faults import Fault, always, chance, script
from tests.loopback.server import LoopbackServer, Request

__all__ = ["BatchPlan", "Fault", "LoopbackServer", "Request", "always", "chance", "script"]
