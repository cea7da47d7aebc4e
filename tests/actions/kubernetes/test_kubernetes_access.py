"""Where the API server is, and in whose name it is asked: kubeconfigs, tokens, certificates."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from fakes.kubernetes import TOKEN

from remediator.actions.kubernetes.get import Get, GetParameters
from remediator.actions.protocol import Outcome, Result

ANSWER = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "node-1", "uid": "1", "resourceVersion": "1"}}


@pytest.fixture
def ask(context, tmp_path: Path):
    """Ask for a node by a kubeconfig, with the user and the cluster as given."""

    async def go(
        server: str, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **settings: Any
    ) -> Outcome:
        file = tmp_path / "kubeconfig"
        file.write_text(
            yaml.safe_dump(
                {
                    "current-context": "here", "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
                    "users": [{"name": "u", "user": user or {}}],
                    "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                }
            )
        )  # fmt: skip
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
        made = context({"kubernetes": {"kubeconfig": str(file), "context": None, "patch": [], **settings}})
        return await Get().run(GetParameters(kind="Node", name="node-1"), made)

    return go


@pytest.fixture
async def told(serve):
    """Serve a node; gives the URL and the list of headers Authorization that came."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response(ANSWER)

    return await serve(answer), seen


async def test_each_way_of_a_user_to_show_who_he_is(ask, told, tmp_path: Path) -> None:
    """A token, a file with one that changes, a user and a password, nothing."""
    url, seen = told
    file = tmp_path / "token"
    file.write_text("t0ken-one\n")
    for user in (
        {"token": "t0ken"}, {"tokenFile": str(file)}, {"tokenFile": "token"}, {"username": "u", "password": "passw0rd"}, {},
    ):  # fmt: skip
        assert (await ask(url, user)).kind is Result.OK
    file.write_text("t0ken-two")
    assert (await ask(url, {"tokenFile": str(file)})).kind is Result.OK
    basic = "Basic " + base64.b64encode(b"u:passw0rd").decode()
    assert seen == ["Bearer t0ken", "Bearer t0ken-one", "Bearer t0ken-one", basic, None, "Bearer t0ken-two"]


async def test_a_kubeconfig_that_has_changed_is_read_anew(ask, told) -> None:
    """Without a restart."""
    url, seen = told
    await ask(url, {"token": "old"})
    await ask(url, {"token": "new"})
    assert seen == ["Bearer old", "Bearer new"]


async def test_a_program_gives_the_token(ask, told, tmp_path: Path) -> None:
    """As clouds have it; it is asked again when the token has run out."""
    url, seen = told
    count = tmp_path / "count"
    program = tmp_path / "plugin"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys\n"
        f"count = pathlib.Path({str(count)!r})\n"
        "number = len(count.read_text()) if count.exists() else 0\n"
        "count.write_text('x' * (number + 1))\n"
        "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['kind'] == 'ExecCredential'\n"
        "end = {'expirationTimestamp': sys.argv[1]} if sys.argv[1:] else {}\n"
        "print(json.dumps({'status': {'token': os.environ['PREFIX'] + str(number), **end}}))\n"
    )
    program.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    plugin = {"apiVersion": version, "command": str(program), "env": [{"name": "PREFIX", "value": "t"}]}
    for _ in range(2):
        await ask(url, {"exec": {**plugin, "args": ["2999-01-01T00:00:00Z"]}})
    for _ in range(2):
        await ask(url, {"exec": {**plugin, "args": ["2001-01-01T00:00:00Z"]}})
    assert seen == ["Bearer t0", "Bearer t0", "Bearer t1", "Bearer t2"]
    outcome = await ask(url, {"exec": {"apiVersion": version, "command": "/bin/false"}})
    assert outcome.kind is Result.NOT_SENT
    assert "/bin/false" in outcome.error
    outcome = await ask(url, {"exec": {"apiVersion": version, "command": "/bin/echo", "args": ["s3cret"]}})
    assert outcome.kind is Result.NOT_SENT
    assert "s3cret" not in outcome.error


@pytest.mark.parametrize(
    "user", [{"token": ""}, {"token": "a\nb"}, {"tokenFile": "missing"}, {"auth-provider": {"name": "x"}}]
)
async def test_a_credential_that_is_none_stops_before_anything_is_sent(ask, told, user) -> None:
    """And it is said where it stands."""
    url, seen = told
    outcome = await ask(url, user)
    assert outcome.kind is Result.NOT_SENT
    assert outcome.error
    assert seen == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "not found"),
        ("", "no kubeconfig that can be used"),
        ("users: [{token: s3cret", "no kubeconfig that can be used"),
        ("clusters: s3cret\ncontexts: []", "no kubeconfig that can be used"),
        ("clusters: []\ncontexts: []", "No current context"),
        ("clusters: []\ncontexts: []\ncurrent-context: s", "Context 's' not found"),
    ],
)
async def test_a_kubeconfig_that_can_not_be_used(context, tmp_path: Path, text: str | None, says: str) -> None:
    """What is wrong is said, and nothing of what is in it."""
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    made = context({"kubernetes": {"kubeconfig": str(file), "context": None, "patch": []}})
    outcome = await Get().run(GetParameters(kind="Node", name="node-1"), made)
    assert outcome.kind is Result.NOT_SENT
    assert says in outcome.error
    assert "s3cret" not in outcome.error


async def test_outside_a_cluster_a_kubeconfig_is_needed(context, monkeypatch) -> None:
    """The operator's own one is never taken unasked."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", "/should/not/be/read")
    outcome = await Get().run(GetParameters(kind="Node", name="node-1"), context({"kubernetes": {}}))
    assert outcome.kind is Result.NOT_SENT
    assert "kubernetes.kubeconfig is not set" in outcome.error


async def test_a_pods_own_service_account_is_taken(context, told, tmp_path: Path, monkeypatch) -> None:
    """With its token as it is now: the kubelet renews it."""
    from lightkube.config import kubeconfig

    account = tmp_path / "account"
    account.mkdir()
    for name, text in {"token": "pod-token\n", "namespace": "shop", "ca.crt": ""}.items():
        (account / name).write_text(text)
    url, seen = told
    of_account = kubeconfig.KubeConfig.from_service_account.__func__

    def here(cls, service_account=str(account)):
        found = of_account(cls, service_account)
        found.clusters["default"].server = url
        return found

    monkeypatch.setattr(kubeconfig.KubeConfig, "from_service_account", classmethod(here))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    made = context({"kubernetes": {}})
    for token in ("pod-token", "renewed"):
        (account / "token").write_text(f"{token}\n")
        assert (await Get().run(GetParameters(kind="Node", name="node-1"), made)).kind is Result.OK
    assert seen == ["Bearer pod-token", "Bearer renewed"]


async def test_without_the_extra_it_is_said_how_to_get_it(ask, told, monkeypatch) -> None:
    """lightkube is no part of the core."""
    monkeypatch.setitem(sys.modules, "lightkube", None)
    outcome = await ask(told[0])
    assert outcome.kind is Result.NOT_SENT
    assert "pip install 'remediator[kubernetes]'" in outcome.error


def test_the_catalog_loads_without_lightkube() -> None:
    """Memory is paid by those who use it."""
    code = "import sys, remediator.actions.kubernetes; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lightkube", "httpx2", "httpx", "aiohttp", "yaml"} & set(loaded)


async def test_a_secret_that_is_echoed_is_told_nowhere(context, serve, tmp_path: Path, cluster) -> None:
    """Neither in a result, nor in an error, in no form."""

    async def echo(request: web.Request) -> web.Response:
        if request.path.endswith("/log"):
            return web.Response(text=f"got {request.headers['Authorization']}")
        return web.json_response({"message": f"no: {request.headers['Authorization']}"}, status=403)

    from remediator.actions.kubernetes.evidence import Logs, LogsParameters

    file = tmp_path / "kubeconfig"
    file.write_text(cluster.kubeconfig(await serve(echo)))
    made = context({"kubernetes": {"kubeconfig": str(file)}})
    log = await Logs().run(LogsParameters(namespace="shop", pod="web-0"), made)
    assert log.result["log"] == "got Bearer [credential of the kubeconfig]"
    outcome = await Get().run(GetParameters(kind="Node", name="node-1"), made)
    assert outcome.kind is Result.REFUSED
    assert TOKEN not in json.dumps([outcome.error, outcome.result])


async def test_only_a_server_of_the_kubeconfigs_authority_is_asked(ask, tmp_path: Path) -> None:
    """With its certificate inside the kubeconfig, in a file, or with none."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response(ANSWER)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=tls)
    try:
        url = f"https://127.0.0.1:{server.port}"
        data = base64.b64encode(certificate.read_bytes()).decode()
        assert (await ask(url, {"token": "t0ken"}, {"certificate-authority-data": data})).kind is Result.OK
        assert (await ask(url, {"token": "t0ken"}, {"certificate-authority": "cert.pem"})).kind is Result.OK
        outcome = await ask(url, {"token": "t0ken"})
        assert outcome.kind is Result.NOT_SENT
        assert seen == ["Bearer t0ken", "Bearer t0ken"]
        assert "certificate" in outcome.error.lower()
    finally:
        await server.close()
