"""What is mutated: guards, claims and transitions, and the tests that come first for what their modules do at import."""

from __future__ import annotations

# The tests that go at this code by itself, and those of the engine that are quick.
TESTS = (
    "tests/test_guard.py", "tests/test_model.py", "tests/engine/test_asking.py", "tests/engine/test_settling.py",
    "tests/engine/test_bursts.py", "tests/engine/test_claiming.py", "tests/store", "tests/engine/test_approval.py",
    "tests/engine/test_controls.py", "tests/engine/test_crashes.py", "tests/engine/test_outbox.py", "tests/engine/test_resume.py",
    "tests/engine/test_revert.py",
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
    "remediator/engine/workers.py": ("Workers._free", "Workers._claim_script", "Workers._renew_script"),
    "remediator/store/sqlite/runs.py": (),
    "remediator/store/sqlite/books.py": (),
}  # fmt: skip

# By file, the tests that a mutant of its module level has to pass: it takes a process with imports of its own.
FIRST: dict[str, tuple[str, ...]] = {
    "remediator/guard.py": ("tests/test_guard.py",),
    "remediator/model/run.py": ("tests/test_model.py",),
    "remediator/store/sqlite/runs.py": ("tests/store/test_claims.py", "tests/store/test_conformance.py"),
    "remediator/store/sqlite/books.py": ("tests/store/test_books.py",),
}
