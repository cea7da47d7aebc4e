"""The faults and bad input that the promises name, word by word, and over which stores each has to be tried."""

from __future__ import annotations

from dataclasses import dataclass

SQLITE, POSTGRES, EITHER = "sqlite", "postgres", "either"

# `fault → what is to happen`, one after the other, with a dot between them.
PROMISED = {
    "Process and store": """
SIGKILL at every state transition → P1, P2 · SIGSTOP past the lease → P3 · SIGTERM mid-run → drain within a bound, then P2 ·
disk full → 503, no start, recovers by itself · error from fsync → stop, never retry it · database locked → bounded wait, 503 ·
corrupt or foreign file → refuse to start, never recreate · file deleted or read-only while running → fail closed ·
two daemons on one SQLite file → the second refuses · PostgreSQL restarted → resumes, nothing twice ·
failover to a read-only node → no start · serialization failure → whole transaction again, effects outside it ·
connection lost in COMMIT → resolved by key, never guessed · pool exhausted → kill switch and audit keep a connection ·
a pooler in transaction mode → no session state assumed ·
an old backup restored → found where a witness (another replica, the exported head) knows better, starts paused
""",
    "Time": """
clock ±1 h → guards unchanged · DST gap and overlap, 29 February → windows as documented, no crash ·
suspend and resume → missed timers run once, stale work expires · a missed schedule → recorded
""",
    "Replicas": """
partition to the database → that replica idles · the same notification to all replicas → one run ·
concurrent migration → one does it, others wait · versions N and N+1 → P15
""",
    "Input": """
slow body → timeout · body over the limit → 413 before it is buffered · compressed bodies → refused ·
JSON nested 100,000 deep, NaN, 1e999, 5,000-digit integers, invalid UTF-8 → 400 with the reason ·
NUL or lone surrogates in a label, a bad time, a status that is neither → that alert refused and counted, the others taken,
400 if none is left · 20,000 alerts in one body → done · 10⁶ → bounded memory, 503 or 413 ·
label bombs (10,000 labels, 1 MiB value) → that alert refused with the reason ·
truncated group → its listed alerts are taken, no fraction is counted from it · flapping → guard ·
resolved before firing → no run · ancient `startsAt` → taken, future → clamped to now, said so · replayed body → no new run ·
CR/LF, ANSI, bidi, `<!channel>`, markdown, `=cmd()`, `<script>`, `; rm -rf /`, `--flag`, `$(x)`, `{{ 7*7 }}`, `../` in labels
→ inert everywhere
""",
    "Rules": """
catastrophic regular expression → linear · YAML alias bomb → refused ·
unknown key, duplicate key, wrong type, wrong matcher, unknown action, unknown window, missing secret → error with file, line,
column, all at once · a rule whose own action raises its alert → loop found and broken · reload during a run → pinned ·
half-written file → old set · no rules after reload → alarm
""",
    "Execution and network": """
child ignores SIGTERM → group killed · grandchild holds the pipe, `setsid`, double fork → swept ·
endless output → capped and drained · zombies → reaped · hung HTTP target, slow-dripping body → total deadline ·
redirect to another host, or DNS answer in a private range where not allowed → refused ·
DNS failure → retried only if nothing was sent · pager down → kept and sent later, second channel tried ·
remediation makes it worse → one attempt, undo, then a person
""",
}

# Where the store matters, by how a fault begins; any other is tried once, over whichever store.
_STORES = {
    "SIGKILL": (SQLITE, POSTGRES),
    "SIGSTOP": (SQLITE, POSTGRES),
    "SIGTERM": (SQLITE, POSTGRES),
    "disk full": (SQLITE, POSTGRES),
    "error from fsync": (SQLITE,),
    "database locked": (SQLITE, POSTGRES),
    "corrupt or foreign file": (SQLITE,),
    "file deleted": (SQLITE,),
    "two daemons": (SQLITE,),
    "PostgreSQL restarted": (POSTGRES,),
    "failover": (POSTGRES,),
    "serialization failure": (POSTGRES,),
    "connection lost in COMMIT": (POSTGRES,),
    "pool exhausted": (POSTGRES,),
    "a pooler": (POSTGRES,),
    "an old backup": (SQLITE, POSTGRES),
    "clock ±1 h": (SQLITE, POSTGRES),
    "partition": (POSTGRES,),
    "the same notification": (POSTGRES,),
    "concurrent migration": (POSTGRES,),
    "versions N and N+1": (SQLITE, POSTGRES),
    "20,000 alerts": (SQLITE, POSTGRES),
    "replayed body": (SQLITE, POSTGRES),
    "pager down": (SQLITE, POSTGRES),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the list."""

    section: str
    what: str
    expected: str
    stores: tuple[str, ...]

    def begins(self, text: str) -> bool:
        """Tell whether a mark, or a table here, names this one by how it begins."""
        return bool(text) and self.what.startswith(text)


def _stores_of(what: str) -> tuple[str, ...]:
    return next((stores for begins, stores in _STORES.items() if what.startswith(begins)), (EITHER,))


def _read() -> tuple[Fault, ...]:
    found = []
    for section, text in PROMISED.items():
        for line in " ".join(text.split()).split(" · "):
            what, _, expected = line.partition(" → ")
            found.append(Fault(section, what, expected, _stores_of(what)))
    return tuple(found)


FAULTS = _read()


def fault_of(text: str) -> Fault:
    """Give the one fault that begins like this. Raises LookupError where there is none, or more than one."""
    found = [fault for fault in FAULTS if fault.begins(text)]
    exact = [fault for fault in found if fault.what == text]
    if len(exact or found) != 1:
        raise LookupError(f"{text!r} begins {len(found)} faults of tests/faults/promised.py, and has to begin one")
    return (exact or found)[0]
