"""The engine: receive → match → guard → execute → verify → record.

`Engine` (in `engine.py`) is the spine and reads in one screen. Around it: `intake` (the transaction that keeps a
notification and all decisions made of it), `advance` (pure: what a run does next), `settle` (the transaction in which a run
goes as far as it can), `plan` and `scope` (what templates see), `record` (what is told of it afterwards).
"""

from remediator.engine.clock import Clock, SystemClock
from remediator.engine.engine import Engine, Overloaded, Receipt
from remediator.engine.settle import Standing

__all__ = ["Clock", "Engine", "Overloaded", "Receipt", "Standing", "SystemClock"]
