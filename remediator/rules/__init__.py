"""From YAML to `Rule`: files, places and problems, matchers, templates and their gates.

What comes out is frozen and compiled; nothing here decides whether a rule may act.
"""
