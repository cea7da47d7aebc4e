"""What all platforms' `scale` share: to a number, or by some more or fewer, never past its bounds."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from remediator.actions.protocol import Parameters


class Scaling(Parameters):
    """To how many, and within which bounds."""

    to: int | None = Field(default=None, ge=0, le=10_000, description="The number that there shall be.")
    by: int | None = Field(default=None, ge=-1000, le=1000, description="So many more, or fewer where negative.")
    floor: int | None = Field(default=None, ge=0, description="Never fewer than that; default 1.")
    ceiling: int | None = Field(default=None, ge=1, description="Never more than that; needed to scale up by a number.")
    allow_zero: bool = Field(default=False, description="Whether it may be scaled to nothing.")

    @property
    def least(self) -> int:
        """Give the floor."""
        return self.floor if self.floor is not None else (0 if self.allow_zero else 1)

    @property
    def much(self) -> str:
        """Say in words to what, or by how much."""
        if self.to is not None:
            return f"to {self.to}"
        return f"by {self.by:+d}, at least {self.least}" + (f", at most {self.ceiling}" if self.ceiling else "")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.to is None) == (self.by is None):
            raise ValueError("give `to` or `by`")
        if self.by == 0:
            raise ValueError("`by: 0` changes nothing")
        if not self.allow_zero and 0 in (self.to, self.floor):
            raise ValueError("to scale to zero say `allow_zero: true`")
        if self.by is not None and self.by > 0 and self.ceiling is None:
            raise ValueError("to scale up by a number give a `ceiling`")
        if self.ceiling is not None and self.ceiling < self.least:
            raise ValueError("`ceiling` is below `floor`")
        if self.to is not None and not self.least <= self.to <= (self.ceiling or self.to):
            raise ValueError("`to` is not between `floor` and `ceiling`")
        return self

    def target(self, now: int, noun: str) -> int | str:
        """Give the number to scale to from the present one, or say why there is none; `noun` is what is counted."""
        if self.to is not None:
            return self.to
        by = self.by or 0
        if now == 0 and not self.allow_zero:
            return f"it has no {noun}, which somebody may have chosen: scale it with `to`"
        if by > 0:
            wanted = min(now + by, self.ceiling or now)
            return wanted if wanted > now else f"it has {now} {noun}, and the ceiling is {self.ceiling}"
        wanted = max(now + by, self.least)
        return wanted if wanted < now else f"it has {now} {noun}, and the floor is {self.least}"
