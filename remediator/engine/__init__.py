"""The engine: receive → match → guard → execute → verify → record.

`Engine` (in `engine.py`) is the spine and reads in one screen. Below it: `reception` gathers what arrives and `workers` carry
runs on; `intake` and `settle` are their transactions; `advance` is pure and says what a run does next; `plan` and `scope` are
what templates see; `desk` is what is in force; `record` tells of what is durable; `controls` are what people lay.
"""

from remediator.engine.clock import Clock, SystemClock
from remediator.engine.engine import Engine
from remediator.engine.reception import Overloaded, Receipt
from remediator.rules.standing import Standing

__all__ = ["Clock", "Engine", "Overloaded", "Receipt", "Standing", "SystemClock"]
