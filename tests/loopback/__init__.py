"""A teacher's server on loopback, for tests and benchmarks; `python -m tests.loopback --help` runs it by itself."""

from tests.loopback.batches import BatchPlan
from tests.loopback.faults import Fault, always, chance, script
from tests.loopback.server import LoopbackServer, Request

__all__ = ["BatchPlan", "Fault", "LoopbackServer", "Request", "always", "chance", "script"]
