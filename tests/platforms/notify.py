"""The stand of `notify.*`: Apprise posts to a fake inbox.

The fake is not given to the suites as such: Apprise does not tell a status from another, so all that they can say of it is
what has arrived, and what becomes of broken ports.
"""

from __future__ import annotations

import warnings
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fakes.notify import PASSWORD, USER, FakeInbox
from platforms.stand import Stand

from remediator.forms.notify import Notify

SECRET = "oncall_url"


class Urls(dict[str, str]):
    """The secret, which the suites lead to another port by the settings: a name of its own for every port."""

    def __missing__(self, name: str) -> str:
        port = name.removeprefix(f"{SECRET}_")
        if port == name:
            raise KeyError(name)
        return f"json://{USER}:{PASSWORD}@127.0.0.1:{port}/inbox"


def sections(secret: str = SECRET) -> dict[str, Any]:
    """Give the configuration, with one channel."""
    return {"notify": Notify.model_validate({"channels": {"oncall": {"secret": secret}}}).resolved(Path())}


def load_apprise() -> None:
    """Import all of Apprise that is wanted: one of its modules imports a deprecated one of Python's, which is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        apprise.Apprise.instantiate("json://localhost")


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start the fake."""
    load_apprise()
    fake = FakeInbox()
    await stack.enter_async_context(fake)
    return Stand(
        settings=sections(),
        secrets=Urls({SECRET: fake.channel}),
        samples={"notify.send": ({"channel": "oncall", "body": "{{ annotations.summary }}"},)},
        arrived=lambda: [dict(message) for message in fake.messages],
        reach=lambda port: sections(f"{SECRET}_{port}"),
        reset=fake.reset,
    )
