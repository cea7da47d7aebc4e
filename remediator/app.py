"""The app: the only place where everything is wired together; signals, reload, housekeeping."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import structlog
from aiohttp import web
from watchfiles import awatch

from remediator import __version__, metrics
from remediator.actions.catalog import Catalog, load_catalog
from remediator.config import LoadedConfig, load_config, settings
from remediator.engine import Engine, SystemClock
from remediator.engine.lagging import watch_lag
from remediator.engine.noticing import Notice
from remediator.engine.starting import start
from remediator.errors import ConfigurationError, InvalidRules, StoreError
from remediator.heartbeat import TICK, Heartbeat
from remediator.housekeeping import Housekeeping
from remediator.log import configure_log
from remediator.model.run import Event, EventKind, State
from remediator.receive import Limits
from remediator.rules.configured import standing_of
from remediator.rules.load import Loaded, load_rules
from remediator.secrets import Secrets
from remediator.store.opening import Seat, open_configured
from remediator.store.protocol import Store
from remediator.web.access import WebhookCredential, local_token
from remediator.web.server import make_app
from remediator.web.webhook import Webhook

_log = structlog.get_logger("remediator")

DRAIN_SECONDS = 30.0
_RELOAD_AGAIN = 5.0  # seconds
_NO_RULES = (
    "no rule is left after the reload, so nothing is done about any alert: look where `rules` in the configuration says"
)


def shipped_rules() -> Path:
    """Give the folder of the shipped rules: in the wheel, or in a checkout."""
    packaged = Path(str(files("remediator"))) / "shipped"
    return packaged if packaged.is_dir() else Path(str(files("remediator"))).parent / "rules"


def rule_paths(loaded: LoadedConfig) -> tuple[Path, ...]:
    """Give where the rules of a configuration are."""
    return loaded.rule_paths if loaded.rule_paths is not None else (shipped_rules(),)


def read_rules(loaded: LoadedConfig, catalog: Catalog, paths: Sequence[Path] = ()) -> Loaded:
    """Load the rules under some paths, else those that a configuration names; its sections are checked against where it has any.

    Where nobody names any the shipped ones are meant, as far as they need no platform that isn't configured.
    """
    sections = settings(loaded) if loaded.named else None
    found = load_rules(paths or rule_paths(loaded), catalog, vars=loaded.config.vars, settings=sections)
    return found if paths or loaded.rule_paths is not None else found.configured()


class Daemon:
    """One daemon from start to stop."""

    def __init__(self, loaded: LoadedConfig, secrets: Secrets, *, console: bool) -> None:
        self.loaded = loaded
        self.secrets = secrets
        self._console = console
        self.catalog = load_catalog()
        self.clock = SystemClock()
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()
        self._moved = asyncio.Event()  # the paths to watch may have changed
        self._trouble: str | None = "starting"
        self.store: Store
        self.engine: Engine
        self.housekeeping: Housekeeping
        self.webhook: Webhook

    async def serve(self) -> int:
        """Run until a signal says stop. Gives the exit status. Raises ConfigurationError and StoreError at the start."""
        rules = read_rules(self.loaded, self.catalog)
        _report(rules)
        if not rules.ok:
            raise InvalidRules("the rules have errors, so nothing was started", rules.problems)
        self.store = await open_configured(self.loaded, self.clock.follow, self.clock.now())
        try:
            seat = Seat(self.loaded.state_folder)
            try:
                return await self._serve(rules, seat)
            finally:
                seat.leave()
        finally:
            await self.store.close()

    async def _serve(self, rules: Loaded, seat: Seat) -> int:
        self.engine = Engine(self.store, self.clock, self.catalog, self.secrets)
        distrust = await start(self.engine, self._event(EventKind.DAEMON_STARTED), seat.before, seat.head)
        seat.sit(self.engine.desk.worker)
        await self.engine.adopt(rules.rules, standing_of(self.loaded, self.catalog), settings(self.loaded))
        if distrust is not None:
            await self.engine.say(distrust)
        self.housekeeping = Housekeeping(self.engine, lambda: self.loaded.config.retention, seat.note)
        self._note_rules(rules)
        config = self.loaded.config
        self.webhook = Webhook(
            self.engine, _limits(self.loaded), _credential(self.loaded, self.secrets), config.webhook.max_body
        )
        token = local_token(self.loaded.state_folder)
        runner = web.AppRunner(
            make_app(self.engine, self.webhook, token, self._what_is_wrong, lambda: self.loaded.config.access),
            access_log=None,
            handle_signals=False,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, config.address.host or None, config.address.port).start()
        except OSError as error:
            raise ConfigurationError(f"can't listen on {config.listen}: {_why_not(error)}") from error
        self._signals()
        self.store.when_stirred(self.engine.stirred)
        self.housekeeping.every(5, self._renew_credential)
        heartbeat = Heartbeat(self.engine, self.secrets, lambda: self.loaded.config.heartbeat, self._what_is_wrong)
        self.housekeeping.every(TICK, heartbeat.tick)
        await self.housekeeping.begin()
        tasks = [
            asyncio.create_task(work)
            for work in (self.engine.run(), watch_lag(), self._reloads(), self._watch(), self._store_watch())
        ]
        self._trouble = None
        gc.collect()
        gc.freeze()  # what is here now stays: later collections need not look at it
        self._announce(rules)
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        self._trouble = "stopping"
        status = 0
        for task in done - {stopping}:
            if task.exception() is not None:  # the watchers end by themselves once we are to stop
                status = 1
                _log.error("the daemon stops on a defect", exc_info=task.exception())
        status = 1 if self.store.broken else status
        self.housekeeping.end()
        _log.info("draining: steps at work may end", seconds=DRAIN_SECONDS)
        await self.engine.drain(DRAIN_SECONDS)
        await runner.cleanup()
        for task in [*tasks, stopping]:
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        if not self.store.broken:
            await self.store.transact(lambda tx: tx.append([self._event(EventKind.DAEMON_STOPPED)]))
            await self.housekeeping.publish_head()
        return status

    def _what_is_wrong(self) -> str | None:
        return self._trouble or self.store.broken or self.store.failing

    def _event(self, kind: EventKind) -> Event:
        data = {"version": __version__, "worker": self.engine.desk.worker, "mode": self._mode()}
        return Event(at=self.clock.now(), kind=kind, run=None, data=data)

    def _mode(self) -> str:
        """Give the daemon's mode now; a list says which window decides."""
        standing = self.engine.desk.standing
        return str(standing.modes.in_force(self.clock.now(), standing.windows))

    def _announce(self, rules: Loaded) -> None:
        config = self.loaded.config
        metrics.BUILD.info({"version": __version__, "python": sys.version.split()[0]})
        metrics.STORE_UP.set(1)
        source = str(self.loaded.path) if self.loaded.path else "no configuration file: defaults"
        lines = [
            f"Remediator {__version__}, mode {self._mode()}, rules: {len(rules.rules.rules)}, {source}",
            f"Post Alertmanager's notifications to http://{config.listen}/webhook/alertmanager",
            f"Store {self.store.place}; see `remediator runs`, stop everything with `remediator pause --reason …`",
        ]
        if self._console:
            sys.stderr.write("".join(f"  {line}\n" for line in lines))
            sys.stderr.flush()
        else:
            for line in lines:
                _log.info(line)

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)

    def _stop(self) -> None:
        if self._stopping.is_set():
            os._exit(1)  # asked twice: what is at work is found at the next start
        self._stopping.set()

    # -- the configuration in force --

    async def _reloads(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                await self._reload_once()
            except ConfigurationError as error:
                metrics.RULES_RELOAD_SUCCESS.set(0)
                self.engine.desk.refused = str(error)
                _log.error("reload refused: the last good set stays in force", error=str(error))
                await self.housekeeping.tell_replicas()
                await self.engine.say(Notice("rules", f"reload refused, the last good set stays in force: {error}"))
            except StoreError as error:
                metrics.RULES_RELOAD_SUCCESS.set(0)
                _log.error("reload put off: the store is away", error=str(error))
                await self.clock.wait(self._stopping, _RELOAD_AGAIN)
                self._reload.set()

    async def _reload_once(self) -> None:
        """Put rules and configuration in force together, or neither."""
        loaded = load_config(self.loaded.path, self.loaded.environ)
        rules = await asyncio.to_thread(read_rules, loaded, self.catalog)
        _report(rules)
        if not rules.ok:
            errors = sum(each.severity == "error" for each in rules.problems)
            raise InvalidRules(
                f"errors in the rules, {errors} in all: `remediator check` tells each; mend before a restart"
            )
        old, old_paths = self.loaded.config, rule_paths(self.loaded)
        for key in ("listen", "state", "store"):
            if getattr(old, key) != getattr(loaded.config, key):
                _log.warning(f"`{key}` has changed: it takes effect at the next start")
        kept = {key: getattr(old, key) for key in ("listen", "state", "store")}
        loaded = LoadedConfig(loaded.config.model_copy(update=kept), loaded.path, loaded.base, loaded.environ)
        credential = _credential(loaded, Secrets(loaded))
        had_rules = bool(self.engine.desk.rules.rules)
        await self.engine.adopt(rules.rules, standing_of(loaded, self.catalog), settings(loaded))
        self.loaded = loaded
        self.secrets.adopt(loaded)
        self.webhook.limits, self.webhook.credential = _limits(loaded), credential
        self._note_rules(rules)
        await self.housekeeping.tell_replicas()
        if rule_paths(loaded) != old_paths:
            self._moved.set()
            self._reload.set()  # what changed there before it was watched
        _log.info("rules loaded", rules=len(rules.rules.rules), mode=self._mode())
        if had_rules and not rules.rules.rules:
            _log.error(_NO_RULES)
            await self.engine.say(Notice("rules", _NO_RULES))

    def _note_rules(self, rules: Loaded) -> None:
        metrics.RULES_LOADED.set(len(rules.rules.rules))
        for rule in rules.rules.rules:  # a series that begins at 1 hides the first failure from `increase`
            mode = self.engine.desk.standing.mode_in_force(rule, 0, None, (), self.clock.now())
            for state in (State.SUCCEEDED, State.FAILED):
                metrics.RUNS.labels(rule=rule.name, mode=mode, state=state)
        metrics.RULES_RELOAD_SUCCESS.set(1)
        metrics.RULES_RELOAD_TIMESTAMP.set(self.clock.now())

    async def _watch(self) -> None:
        """Reload when a rule file or the configuration changes; folders are watched, since editors and ConfigMaps replace."""
        while not self._stopping.is_set():
            self._moved.clear()
            paths = rule_paths(self.loaded)
            own = {each for path in paths if not path.is_dir() for each in _places(path)}
            folders = {path for path in paths if path.is_dir()} | {each.parent for each in own}
            watches = [self._watch_folders(folders, own, deep=True)]
            if self.loaded.path is not None:  # the store is often below its folder, and writes all the time
                files = _places(self.loaded.path)
                watches.append(self._watch_folders({file.parent for file in files}, files, deep=False))
            await asyncio.gather(*watches)

    async def _watch_folders(self, folders: set[Path], files: set[Path], *, deep: bool) -> None:
        there = [folder for folder in folders if folder.is_dir()]
        async for changes in awatch(*there, stop_event=self._moved, recursive=deep, debounce=300):
            changed = [Path(name) for _, name in changes]
            if any(_places(path) & files or _is_swap(path) or (deep and _is_rule(path)) for path in changed):
                self._reload.set()

    # -- housekeeping --

    async def _store_watch(self) -> None:
        """Stop when the store can promise nothing any more: a supervisor starts us again, or pages somebody."""
        away = False
        while not self.store.broken:
            await self.clock.wait(self._stopping, 1.0)
            if self._stopping.is_set():
                return
            if self.store.failing is not None and not away:
                await self.engine.workers.tell_unkept(
                    Notice("store", f"the store can't be written, so nothing starts: {self.store.failing}")
                )
            away = self.store.failing is not None
            if away:
                await self._try_store()
        await self.engine.workers.tell_unkept(
            Notice("store", f"the daemon stops, its store is broken: {self.store.broken}")
        )
        metrics.STORE_UP.set(0)
        _log.error("the daemon stops: the store is broken", error=self.store.broken)
        self._stopping.set()

    async def _try_store(self) -> None:
        """See whether a store that could not be written takes writes again."""
        now = self.clock.now()
        try:
            await self.store.transact(lambda tx: tx.touch(now))
        except StoreError as error:
            _log.error("the store can't be written", error=str(error))
        else:
            _log.warning("the store takes writes again")

    async def _renew_credential(self) -> None:
        """Take a webhook credential that was rotated; one that can't be read leaves the last one in force."""
        try:
            self.webhook.credential = _credential(self.loaded, self.secrets)
        except ConfigurationError as error:
            _log.error("the webhook's credential can't be read: the last one stays in force", error=str(error))


def _limits(loaded: LoadedConfig) -> Limits:
    section = loaded.config.webhook
    return Limits(max_alerts=section.max_alerts, max_labels=section.max_labels, max_value=section.max_value)


def _credential(loaded: LoadedConfig, secrets: Secrets) -> WebhookCredential:
    section = loaded.config.webhook
    token = None if section.token is None else secrets.read(section.token.secret)
    password = None if section.basic is None else secrets.read(section.basic.password.secret)
    if "" in (token, password):
        raise ConfigurationError("the webhook's credential is empty: anyone could post; write it where `secrets` says")
    basic = None if section.basic is None or password is None else (section.basic.user, password)
    return WebhookCredential(token=token, basic=basic)


def _why_not(error: OSError) -> str:
    """Say why an address can't be had, without what asyncio puts around it."""
    if error.errno == errno.EADDRINUSE:
        return "the port is in use: is another daemon running? Stop it, or give this one another port by `listen`"
    return str(error.strerror).rsplit(": ", 1)[-1]


def _is_rule(changed: Path) -> bool:
    """Tell whether a changed file may be one of rules."""
    return changed.suffix in {".yml", ".yaml"}


def _is_swap(changed: Path) -> bool:
    """Tell whether a ConfigMap may have changed: Kubernetes swaps a link called `..data` beside its files."""
    return changed.name.startswith("..data")


def _places(file: Path) -> set[Path]:
    """Give where a file is called for and where it lies: behind a link the one may change without the other."""
    return {file.absolute(), file.resolve()}


def _report(rules: Loaded) -> None:
    if rules.left_out:
        words = "shipped rules whose platform isn't configured are left out: add its section, or name your own `rules`"
        _log.info(words, rules=", ".join(rules.left_out))
    for problem in rules.problems:
        log = _log.error if problem.severity == "error" else _log.warning
        log("rule problem", where=f"{problem.file}:{problem.line}:{problem.column}", rule=problem.rule, key=problem.key,
            problem=problem.message, code=problem.code)  # fmt: skip


def serve(config: Path | None, environ: Mapping[str, str]) -> int:
    """Run the daemon until it is told to stop; gives the exit status.

    Raises ConfigurationError and StoreError when it can't start.
    """
    loaded = load_config(config, environ)
    secrets = Secrets(loaded)
    secrets.refresh()
    console = configure_log(loaded.config.log.level, loaded.config.log.format, secrets.hide)

    async def main() -> int:
        return await Daemon(loaded, secrets, console=console).serve()

    return asyncio.run(main())
