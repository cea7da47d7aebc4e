"""The desk: what is in force. Rules, their index, what the configuration lends, and the rules that open runs began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Action
from remediator.errors import StoreError
from remediator.match import Index
from remediator.model.run import Origin, Run, State
from remediator.model.time import Timestamp
from remediator.rules.load import compile_rule
from remediator.rules.rule import Rule, RuleSet
from remediator.rules.standing import Standing
from remediator.store.protocol import Store


class Desk:
    """Replaced as a whole by a reload; read by whoever decides."""

    def __init__(self, catalog: Catalog, worker: str) -> None:
        self.worker = worker
        self.rules = RuleSet()
        self.index = Index(())
        self.standing = Standing(worker=worker)
        self.settings: Mapping[str, Any] = {}
        self.refused: str | None = None  # why what the files say now is not in force: the last good set stays
        self.draining = False  # nothing new is begun
        self._catalog = catalog
        self._put_at: Timestamp = 0.0
        self._own: set[str] = set()  # hashes of all rules that were in force here
        self._frozen: dict[str, Rule] = {}  # rules of runs that began under an older set, by hash
        self._confidential: dict[str, bool] = {}  # of such rules, by hash

    def put(self, rules: RuleSet, standing: Standing, settings: Mapping[str, Any], now: Timestamp) -> None:
        """Put another set of rules and settings in force."""
        self._put_at, self.refused = now, None
        self._own.update(rule.hash for rule in rules.rules)
        self.rules, self.index, self.settings = rules, Index(rules.rules), settings
        self.standing = replace(standing, worker=self.worker)

    @property
    def rules_hash(self) -> str:
        """Give a hash over all rules in force: two daemons with the same one decide alike."""
        lines = sorted(f"{rule.name} {rule.hash}\n" for rule in self.rules.rules)
        return sha256("".join(lines).encode()).hexdigest()[:16]

    def in_force(self, run: Run) -> bool:
        """Tell whether the rule that a run was proposed by is the one in force."""
        rule = self.rules.by_name.get(run.rule)
        return rule is not None and rule.hash == run.rule_hash

    def outdated(self, run: Run) -> bool:
        """Tell whether a run has not begun, and the rule that it was proposed by is no longer the one in force.

        One that another replica has proposed since by a rule that was never in force here is not ours to judge: that replica
        may have newer rules, or older ones, and two that take runs back from each other would never end.
        """
        before_it_began = run.state in {State.WAITING, State.AWAITING_APPROVAL} and run.admitted_at is None
        bound = run.origin in {Origin.REVERT, Origin.NOTICE} or run.ending is not None
        ours = run.rule_hash in self._own or run.created_at < self._put_at
        return before_it_began and not bound and ours and not self.in_force(run)

    def action(self, name: str) -> Action[Any] | None:
        """Give an action of the catalog."""
        return self._catalog.get(name)

    async def rule_of(self, run: Run, store: Store) -> Rule:
        """Give the rule that a run began with. Raises StoreError, and InvalidRules where this version can't use it."""
        if self.in_force(run):
            return self.rules.by_name[run.rule]
        if run.rule_hash not in self._frozen:
            definition = await store.view(lambda tx: tx.rule_definition(run.rule_hash))
            if definition is None:
                raise StoreError(f"the rule {run.rule} ({run.rule_hash}) of run {run.id} is not in the store")
            self._frozen[run.rule_hash] = compile_rule(definition, self._catalog)
        return self._frozen[run.rule_hash]

    async def confidential(self, run: Run, store: Store) -> bool:
        """Tell whether a run's details are for operators only: its rule says so, as it was or as it is now.

        What can't be known is confidential. Raises StoreError.
        """
        rule = self.rules.by_name.get(run.rule)
        if rule is not None and (rule.confidential or rule.hash == run.rule_hash):
            return rule.confidential
        if run.rule_hash not in self._confidential:
            definition = await store.view(lambda tx: tx.rule_definition(run.rule_hash))
            if definition is None:
                return True
            self._confidential[run.rule_hash] = definition.get("confidential", False) is not False
        return self._confidential[run.rule_hash]
