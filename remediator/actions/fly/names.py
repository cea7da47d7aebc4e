"""Fly.io's own grammars: how an app, a machine, a region, a process group and a volume are named."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from remediator.actions.protocol import Grammar, Parameters

# "Name may only contain numbers, lowercase letters and dashes"; it is a label of DNS, too: NAME.fly.dev.
AppName = Annotated[
    str,
    Grammar(
        "the name of an app of Fly.io: lower-case letters, digits and dashes", "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    ),
]
MachineId = Annotated[str, Grammar("the id of a machine of Fly.io: hexadecimal digits", "[0-9a-f]{8,32}")]
VolumeId = Annotated[str, Grammar("the id of a volume of Fly.io: `vol_…`", "vol_[0-9a-z]{1,60}")]
Region = Annotated[str, Grammar("a region of Fly.io: three letters", "[a-z]{3}")]
ProcessGroup = Annotated[
    str,
    Grammar("a process group of an app: letters, digits, `_` and `-`", "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})"),
]


class AppParameters(Parameters):
    """Which app."""

    app: AppName = Field(description="The app's name.", examples=["{{ labels.app }}"])
