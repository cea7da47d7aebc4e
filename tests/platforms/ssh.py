"""The stand of `ssh.*`: Debian's sshd with the user's own shell, and programs that note what they are given."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections import deque
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from platforms.stand import Stand

from remediator.forms.ssh import Ssh

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
USER = pwd.getpwuid(os.getuid()).pw_name

# Each use is a file of its own; standard input is another beside it.
_NOTING = """#!/bin/sh
file=$(mktemp "$SEEN/use.XXXXXX")
printf '%s\\0' "${0##*/}" "$@" > "$file"
cat > "$SEEN/input.${file##*.}"
echo noted
"""


@dataclass(frozen=True)
class Server:
    """An sshd that lets this process's own user in, with one key."""

    folder: Path
    port: int
    process: subprocess.Popen[str]

    def section(self, port: int | None = None, **changed: Any) -> dict[str, Any]:
        """Give the section as the configuration would."""
        written = {
            "hosts": ["127.0.0.1"], "user": USER, "key": "user", "known_hosts": "known_hosts", "port": port or self.port,
            **changed,
        }  # fmt: skip
        return {"ssh": Ssh.model_validate(written).resolved(self.folder)}

    def seen(self) -> list[dict[str, Any]]:
        """Give what the noting programs were given."""
        return [
            {
                "argv": file.read_bytes().decode(errors="surrogateescape").split("\0")[:-1],
                "stdin": file.with_name(file.name.replace("use.", "input.")).read_bytes().decode(),
            }
            for file in (self.folder / "seen").glob("use.*")
        ]

    def forget(self) -> None:
        """Begin to note anew."""
        shutil.rmtree(self.folder / "seen")
        (self.folder / "seen").mkdir()


@cache
def running() -> Server:
    """Give this process's server. Raises FileNotFoundError where there is no sshd: install openssh-server."""
    if SSHD is None:
        raise FileNotFoundError("there is no sshd: install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as the machine's own would when it starts
    folder = Path(mkdtemp(prefix="remediator-sshd-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name], check=True)
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    (folder / "known_hosts").write_text(f"[127.0.0.1]:* {(folder / 'host.pub').read_text()}")
    (folder / "seen").mkdir()
    (folder / "bin").mkdir()
    for name in ("systemctl", "df", "note"):
        (folder / "bin" / name).write_text(_NOTING)
        (folder / "bin" / name).chmod(0o755)
    with closing(socket.socket()) as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    (folder / "config").write_text(f"""
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
SetEnv PATH={folder}/bin:/usr/bin:/bin SEEN={folder}/seen HOME={folder}
""")
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", folder / "config"], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    atexit.register(_end, process)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "Server listening" in line:
            # It goes on to log; a full pipe would hold it up.
            threading.Thread(target=deque, args=(process.stderr, 0), daemon=True).start()
            return Server(folder, port, process)
    raise RuntimeError(f"sshd did not start: {''.join(said)}")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait()


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Lead to the server; what its programs have noted is what has arrived."""
    server = running()
    server.forget()
    sample = {"host": "127.0.0.1", "argv": ["note", "a{{ labels.app }}"], "stdin": "{{ labels.app }}"}
    return Stand(
        settings=server.section(),
        labels={"host": "127.0.0.1"},
        samples={"ssh.run": [sample], "ssh.probe": [{**sample, "bare": True}]},
        arrived=server.seen,
        reach=server.section,
        reset=server.forget,
    )
