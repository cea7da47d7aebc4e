"""The one line of text that SSH carries: a command, which the user's shell on the other machine takes apart again."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 32_000  # bytes of a command: SSH promises packets of 35000 (RFC 4253, 6.1)

# sshd ends no program with its connection, unless it has a terminal. So this runs it: the connection's end is the end of its
# input, by which the process group is asked to end, and killed after 5 s. In order:
#
# - The program's own input comes first on the connection; `$1` says how many bytes it has.
# - The shell waits for the program though it is told to end, so that it can say how that ended.
# - What watches is no part of what the shell waits for, and holds none of the program's pipes longer than it must.
# - `kill` is given the group that this shell leads, and finds none where a server starts programs within its own group.
#
# In one line, and without a single quote, since csh can't have these in a quoted text.
_KEEPER = (
    'bytes=$1; shift; exec 3<&0 </dev/null; trap : TERM; { ( trap "" TERM; head -c "$bytes"; exec >/dev/null; cat; '
    "exec </dev/null; kill -s TERM -- -$$ && sleep 5 && kill -s KILL -- -$$ ) <&3 3<&- 2>/dev/null & } | "
    '"$@" 3<&-'
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:-]+")


def command_line(argv: Sequence[str], kept: int | None) -> str:
    """Quote a program and its arguments; where it is `kept`, put it below the shell that ends it with the connection.

    `kept` is the number of bytes of its input.
    """
    if kept is None:
        return " ".join(map(quoted, argv))
    return " ".join(["exec /bin/sh -c", quoted(_KEEPER), "remediator", str(kept), *map(quoted, argv)])


def quoted(text: str) -> str:
    r"""Quote one argument so that sh, bash, zsh, ksh, csh and fish all read the same.

    As shlex.quote, but for two things: a backslash and a `!` stand outside of the quotes, since fish reads `\'` inside them as
    a quote, and csh `!` as a line of its history; and nothing is left bare that some shell gives a meaning at a word's
    beginning, as zsh does `=`.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "'" + re.sub(r"(['\\!])", r"'\\\1'", text) + "'"
