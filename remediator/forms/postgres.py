"""The section `postgres` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import re2
from pydantic import AfterValidator, Field, WithJsonSchema, field_validator
from pydantic import model_validator as check_whole

from remediator.forms.form import Form
from remediator.forms.guards import Filled
from remediator.forms.section import SecretName, Section

NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,47}"  # RE2: of a database as rules call it; it is part of its backups' file names
_OPTIONS = {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"}


def _url(text: str) -> str:
    """Take what libpq and asyncpg read alike (PostgreSQL, "Connection URIs")."""
    try:
        parts = urlsplit(text)
        password, database = parts.password, parts.path.strip("/")
    except ValueError as error:
        raise ValueError(f"this is not a URL: {error}") from None
    if parts.scheme not in {"postgresql", "postgres"} or not database or any(map(str.isspace, text)):
        raise ValueError("expected a URL such as postgresql://USER@HOST:5432/DATABASE")
    if password is not None:
        raise ValueError("a password does not stand in the URL: name a secret under `password`")
    strange = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - _OPTIONS)
    if strange or parts.fragment:
        named = ", ".join(strange) or "#"
        raise ValueError(f"the URL has {named}, which is not known: known are {', '.join(sorted(_OPTIONS))}")
    return text


PostgresUrl: TypeAlias = Annotated[
    str, AfterValidator(_url), WithJsonSchema({"type": "string", "pattern": "^postgres(ql)?://"})
]


class Database(Form):
    """One database, as the actions `postgres.*` reach it."""

    url: PostgresUrl = Field(
        description="`postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full`, without a password."
    )
    password: SecretName | None = Field(None, description="The user's password.")
    backups: Filled | None = Field(None, description="The folder for its backups; several databases may share one.")
    backup_command: list[Filled] | None = Field(
        None,
        min_length=1,
        description="A program and its arguments, run after each backup with the file's path as one more argument: "
        "to take it elsewhere.",
    )

    @check_whole(mode="after")
    def _has_somewhere(self) -> Database:
        if self.backup_command is not None and self.backups is None:
            raise ValueError("`backup_command` takes what is in the folder `backups`: give both")
        return self

    def resolved(self, base: Path) -> dict[str, Any]:
        """Give what actions see of it; a program named with a `/` is relative to the configuration's folder, too."""
        found = self.model_dump()
        if self.backups is not None:
            found["backups"] = str(base / self.backups)
        if self.backup_command is not None and "/" in self.backup_command[0]:
            found["backup_command"] = [str(base / self.backup_command[0]), *self.backup_command[1:]]
        return found


class Postgres(Section):
    """The databases that the actions `postgres.*` may reach, by the names that rules call them."""

    databases: dict[str, Database] = Field(min_length=1, description="By name.")
    programs: Filled | None = Field(
        None, description="The folder with pg_dump and pg_restore. Default: where Debian and most others put them."
    )

    @field_validator("databases")
    @classmethod
    def _named(cls, databases: dict[str, Database]) -> dict[str, Database]:
        for name in databases:
            if re2.fullmatch(NAME, name) is None:
                raise ValueError(f"{name[:60]!r} is no name for a database here: letters, digits, `_`, `.` and `-`")
        return databases

    def resolved(self, base: Path) -> dict[str, Any]:
        """Give what actions see of it."""
        return {
            "databases": {name: database.resolved(base) for name, database in self.databases.items()},
            "programs": None if self.programs is None else str(base / self.programs),
        }
