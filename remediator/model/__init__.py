"""The frozen data that every other floor speaks about: alerts, runs, controls, and the one function of legal transitions.

What belongs here: values without behaviour beyond their own consistency. What does not: reading, writing, clocks,
anything that knows YAML, HTTP or SQL.
"""
