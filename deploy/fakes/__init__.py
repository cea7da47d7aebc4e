"""Fakes of the platforms that can't be had on one's own machine: they hold state, keep the vendor's contract, fail on demand.

One file has each. `python deploy/fakes` starts all of them, for `make demo` and for authors of rules.
"""
