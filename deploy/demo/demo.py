"""The whole loop, told as it happens: a shop falls ill, Prometheus sees it, Alertmanager tells, Remediator heals and verifies.

Run it with `make demo`. Nothing here is pretended: every line is read from the shop, from Prometheus's, Alertmanager's and
the daemon's APIs. Where Prometheus or Alertmanager isn't installed the demo plays its part, and says so. Ends with 0 when the
shop was healed, else with 1.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from programs import Failure, ask
from quicken import FACTOR
from runbooks import Runbooks
from scenarios import SCENARIOS, Scenario, play
from stack import CREDENTIAL, RULES, Stack
from telling import BEGAN, ENDS, say, told

DEADLINE = 90.0  # seconds from the illness to a verdict
_EVERY = 0.2  # seconds between two looks
_LABELS = {"alertname": "ServiceDown", "service": "shop", "severity": "critical"}
_NEVER = "0001-01-01T00:00:00Z"


class Demo:
    """Looks at everything again and again, and tells what has changed."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.health: int | None = None
        self.ill_since: float | None = None
        self.ill_for: float | None = None
        self.alert = "inactive"  # as Prometheus has it
        self.known = False  # to Alertmanager
        self.started_at: str | None = None  # when the demo itself raised the alert, where there is no Prometheus
        self.seen = 0  # the daemon's events up to this one have been told
        self.run: str | None = None
        self.verdict: str | None = None
        self.token = (stack.folder / "state" / "token").read_text().strip()

    def play(self) -> bool:
        """Break the shop and tell what follows; True when it was healed. Raises Failure."""
        self._await_first_scrape()
        self.look()
        ask(f"{self.stack.shop_url}/break", {})
        say("the shop falls ill (POST /break)")
        self.ill_since = time.monotonic()
        while self.verdict is None:
            if time.monotonic() - self.ill_since > DEADLINE:
                raise Failure(f"there was no verdict within {DEADLINE:g} s")
            time.sleep(_EVERY)
            self.look()
        healed = self.verdict == "succeeded" and self.health == 200 and self.ill_for is not None
        if healed:
            times = {1: "once"}.get(self.stack.restarts, f"{self.stack.restarts} times")
            say(f"verdict: healed in {self.ill_for:.1f} s; the run is {self.verdict}; the shop was restarted {times}")
        else:
            say(f"verdict: not healed; the run is {self.verdict}, /health answers {self.health}")
        return healed

    def look(self) -> None:
        """Look at everything once; at what acts before what it acts on, so that causes are told before effects."""
        self.stack.watch()
        self._look_at_daemon()
        self._look_at_shop()
        self._look_at_prometheus()
        self._look_at_alertmanager()

    def _await_first_scrape(self) -> None:
        while self.stack.prometheus:
            status, answer = ask(f"{self.stack.prometheus_url}/api/v1/query?query=shop_healthy")
            if status == 200 and answer["data"]["result"]:
                say(f"Prometheus has scraped the shop: shop_healthy is {answer['data']['result'][0]['value'][1]}")
                return
            if time.monotonic() - BEGAN > DEADLINE:
                raise Failure(f"Prometheus has not scraped the shop within {DEADLINE:g} s")
            self.stack.watch()
            time.sleep(_EVERY)

    def _look_at_shop(self) -> None:
        status, _ = ask(f"{self.stack.shop_url}/health")
        if status == self.health:
            return
        self.health = status
        say(f"the shop's /health answers {status}" if status else "nobody answers at the shop's /health")
        if status == 200 and self.ill_since is not None:
            self.ill_for = time.monotonic() - self.ill_since

    def _look_at_prometheus(self) -> None:
        if self.stack.prometheus:
            status, answer = ask(f"{self.stack.prometheus_url}/api/v1/alerts")
            if status != 200:
                return
            now = next((alert["state"] for alert in answer["data"]["alerts"]), "inactive")
        else:
            now = "inactive" if self.health == 200 else "firing"
        if now == self.alert:
            return
        before, self.alert = self.alert, now
        who = "Prometheus" if self.stack.prometheus else "the demo, in Prometheus's place,"
        words = {
            "pending": "sees the shop ill: ServiceDown is pending for 2 s",
            "firing": 'fires ServiceDown{service="shop"}',
            "inactive": "sees the shop well again: ServiceDown is inactive",
        }
        say(f"{who} {words[now]}")
        if "firing" in (before, now):
            self._raise(firing=now == "firing")

    def _raise(self, *, firing: bool) -> None:
        """Play the part of what isn't installed: raise or resolve the alert at the next station that is."""
        now = datetime.now(UTC).isoformat()
        if self.started_at is None:
            self.started_at = now
        alert: dict[str, Any] = {"labels": _LABELS, "annotations": {}, "startsAt": self.started_at}
        ends = _NEVER if firing else now
        if not self.stack.alertmanager:
            status = "firing" if firing else "resolved"
            body = {
                "version": "4", "groupKey": '{}:{alertname="ServiceDown"}', "truncatedAlerts": 0, "status": status,
                "receiver": "demo", "groupLabels": {}, "commonLabels": _LABELS, "commonAnnotations": {},
                "externalURL": "", "alerts": [{**alert, "status": status, "endsAt": ends}],
            }  # fmt: skip
            answered, words = ask(self.stack.webhook, body, CREDENTIAL)
            if answered != 200:
                raise Failure(f"the daemon answered the notification with {answered}: {words}")
            say(f"the demo, in Alertmanager's place, posts a notification: {status}")
        elif not self.stack.prometheus:
            ask(f"{self.stack.alertmanager_url}/api/v2/alerts", [alert if firing else {**alert, "endsAt": ends}])

    def _look_at_alertmanager(self) -> None:
        if not self.stack.alertmanager:
            return
        status, alerts = ask(f"{self.stack.alertmanager_url}/api/v2/alerts?filter=alertname%3DServiceDown")
        if status == 200 and bool(alerts) != self.known:
            self.known = bool(alerts)
            say("Alertmanager has the alert" if self.known else "Alertmanager has let the alert go")

    def _look_at_daemon(self) -> None:
        status, answer = ask(f"{self.stack.daemon_url}/api/v1/events?after={self.seen}&limit=1000", token=self.token)
        if status != 200:
            return
        for event in answer["events"]:
            self.seen = event["seq"]
            words = self._tell(event)
            if words is not None:
                say(words)

    def _tell(self, event: dict[str, Any]) -> str | None:
        data = event["data"]
        match event["kind"]:
            case "run.proposed":
                self.run = self.run or event["run"]
            case "run.moved" if event["run"] != self.run:
                return None
            case "run.moved" if data["to"] in ENDS:
                self.verdict = data["to"]
            case "run.moved" if data["to"] == "verifying":
                return f"{told(event)} (/health has to answer 200 for 15 s without a break)"
        return told(event)


def _introduce(stack: Stack) -> None:
    for name, path in (("Prometheus", stack.prometheus), ("Alertmanager", stack.alertmanager)):
        say(f"{name}: real, {path}" if path else f"{name}: replaced: it is not installed, this demo plays its part")
    where = f"{stack.daemon_url}, mode auto, rule file {RULES.parent.name}/{RULES.name}"
    say(f"Remediator: real, {where}; the shop: {stack.shop_url}")
    command = Path(sys.executable).with_name("remediator")
    say(f"to look for yourself meanwhile: {command} runs --config {stack.config}")


def _interrupted(number: int, _: object) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # tidying up is not interrupted
    raise SystemExit(128 + number)


def _play_shop(folder: Path) -> bool:
    with Stack(folder) as stack:
        _introduce(stack)
        stack.start()
        say("all of it runs")
        return Demo(stack).play()


def _play_runbooks(folder: Path, chosen: Sequence[Scenario]) -> bool:
    with Runbooks(folder) as world:
        say(
            "the clouds: replaced by fakes. Real: PostgreSQL, Prometheus, Alertmanager, the application, Remediator with all"
        )
        say(f"shipped rules, which wait {FACTOR} times shorter. In mode auto: {world.daemon_url}")
        world.start()
        say(f"all of it runs; to look for yourself meanwhile: remediator runs --config {world.config}")
        seen = 0
        for scenario in chosen:
            seen = play(world, scenario, seen)
    return True


def main(chosen: Sequence[str]) -> int:
    """Play it and tidy up; gives the exit status."""
    chosen, known = list(chosen), {scenario.runbook: scenario for scenario in SCENARIOS}
    if not {*chosen} <= {*known, "shop", "all"}:
        words = "\n".join(f"  {name:24} {each.tells}" for name, each in known.items())
        print(f"`make demo SCENARIO=NAME` plays one of:\n  {'shop':24} a shop falls ill\n{words}")
        print(f"  {'all':24} all but the shop, one after the other")
        return 0 if chosen == ["list"] else 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    folder = Path(tempfile.mkdtemp(prefix="remediator-demo-"))
    healed, keep = False, False
    try:
        if chosen in ([], ["shop"]):
            healed = _play_shop(folder)
        else:
            names = known if "all" in chosen else chosen
            healed = _play_runbooks(folder, [known[name] for name in names])
        keep = not healed
    except Failure as failure:
        keep = True
        say(f"verdict: not healed: {failure}")
    finally:
        if keep:
            print(f"What everybody said is in {folder}/*.log; begin with remediator.log. Then remove the folder.")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if healed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
