"""Match: which rules take up an alert, at a cost that does not grow with the number of rules."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from remediator.rules.matchers import Matcher
from remediator.rules.rule import Rule


class Index:
    """The rules of one set, filed under the rarest label value that each of them demands."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._by_label: dict[str, dict[str, list[Rule]]] = {}
        self._rest: list[Rule] = []  # demand no fixed value: tried on every alert
        demanded = Counter(
            (matcher.name, value) for rule in rules for matcher in rule.match for value in matcher.literals or ()
        )
        for rule in rules:
            if rule.schedule is not None:
                continue  # begun by the clock alone
            finite = [matcher for matcher in rule.match if matcher.literals]
            if not finite:
                self._rest.append(rule)
                continue

            def crowd(matcher: Matcher) -> int:
                return max(demanded[matcher.name, value] for value in matcher.literals or ())

            rarest = min(finite, key=crowd)
            by_value = self._by_label.setdefault(rarest.name, defaultdict(list))
            for value in rarest.literals or ():
                by_value[value].append(rule)

    def match(self, labels: Mapping[str, str]) -> list[Rule]:
        """Give the rules that match a label set, in the order of files and rules."""
        found = [rule for rule in self._rest if _holds(rule, labels)]
        for name, by_value in self._by_label.items():
            value = labels.get(name)
            if value is not None and value in by_value:
                found += [rule for rule in by_value[value] if _holds(rule, labels)]
        if len(found) > 1:
            found.sort(key=lambda rule: rule.order)
        return found


def _holds(rule: Rule, labels: Mapping[str, str]) -> bool:
    return all(matcher.matches(labels) for matcher in rule.match)


def stopping_matcher(rule: Rule, labels: Mapping[str, str]) -> Matcher | None:
    """Give the first matcher of a rule that a label set fails, for the explainer."""
    return next((matcher for matcher in rule.match if not matcher.matches(labels)), None)
