"""What is mutated: guards, claims and transitions, and the tests that come first for what their modules do at import."""

from __future__ import annotations

# The tests that go at this code by itself, and those of the engine that are quick.
TESTS = (
    "tests/test_guard.py", "tests/test_model.py", "tests/store",
    *(
        f"tests/engine/test_{name}.py"
        for name in (
            "asking", "settling", "bursts", "claiming", "approval", "controls", "crashes", "daemon_guards", "guards", "ladder",
            "modes", "resume", "revert", "steps", "verify", "windows_in_force", "from_alert_to_run",
        )
    ),
)  # fmt: skip

# By file, the functions; none means all of it.
SCOPE: dict[str, tuple[str, ...]] = {
    "remediator/guard.py": (),
    "remediator/model/run.py": (),
    "remediator/engine/admission.py": (),
    "remediator/engine/settle.py": (),
    "remediator/engine/approving.py": (),
    "remediator/engine/breaking.py": (),
    "remediator/engine/storming.py": (),
    "remediator/engine/moves.py": (),
    "remediator/engine/advance.py": (),
    "remediator/engine/waiting.py": (),
    "remediator/engine/climbing.py": (),
    "remediator/engine/reverting.py": (),
    "remediator/engine/controls.py": (),
    "remediator/engine/workers.py": ("Workers._free", "Workers._claim_script", "Workers._renew_script"),
    "remediator/store/sqlite/runs.py": (),
    "remediator/store/sqlite/books.py": (),
}  # fmt: skip

# By file, the tests that a mutant of its module level has to pass: it takes a process with imports of its own.
FIRST: dict[str, tuple[str, ...]] = {
    "remediator/guard.py": ("tests/test_guard.py",),
    "remediator/model/run.py": ("tests/test_model.py",),
    "remediator/engine/moves.py": ("tests/engine/test_guards.py",),
    "remediator/engine/advance.py": ("tests/engine/test_settling.py",),
    "remediator/engine/waiting.py": ("tests/engine/test_settling.py",),
    "remediator/engine/climbing.py": ("tests/engine/test_ladder.py",),
    "remediator/engine/reverting.py": ("tests/engine/test_revert.py",),
    "remediator/engine/controls.py": ("tests/engine/test_controls.py",),
    "remediator/store/sqlite/runs.py": ("tests/store/test_claims.py", "tests/store/test_conformance.py"),
    "remediator/store/sqlite/books.py": ("tests/store/test_books.py",),
}
