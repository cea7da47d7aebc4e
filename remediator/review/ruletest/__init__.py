"""Rule tests: what rules do over alerts that a file tells of, in virtual time, with every action stubbed.

`form` is the shape of a file, `load` reads files; `play` runs one test in a world of its own; `difference` compares the runs
with those expected; `coverage` tells what no test reaches; `junit` writes the results for CI.
"""
