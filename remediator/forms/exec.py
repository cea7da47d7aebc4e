"""The section `exec` of the configuration."""

from __future__ import annotations

from pydantic import Field

from remediator.forms.form import Form
from remediator.forms.guards import Count
from remediator.forms.section import Size


class ExecLimits(Form):
    """What a program may take; none is ever more than the daemon's own."""

    memory: Size | None = Field(None, description="Address space of each process: more than it uses of memory.")
    processes: Count | None = Field(
        None, description="Of its user, in all and counting others': for root there is no limit. See `exec.user`."
    )
    open_files: Count | None = Field(None, description="Files and sockets that each process has open.")
    cpu_seconds: Count | None = Field(None, description="Time on the processor of each process; then it is killed.")


class Exec(Form):
    """What `exec.run` and `exec.probe` may start, and as what."""

    allow: list[str] = Field(default_factory=list, description="The programs that may be run.")
    user: str | None = Field(None, description="The user that programs run as.")
    env: dict[str, str] = Field(default_factory=dict, description="The environment of every program.")
    cwd: str | None = Field(None, description="The working directory of every program.")
    limits: ExecLimits | None = None
