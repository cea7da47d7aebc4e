"""The values of secrets: read from files and the environment each time, and kept out of all that is recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from remediator.actions.bounds import redact
from remediator.config import LoadedConfig, SecretSource
from remediator.errors import ConfigurationError

MARK = "[redacted]"
_SHORTEST = 6  # characters: a shorter value would be taken out of words that are no secret
_REMEMBERED = 4  # values of each, since what was rotated a moment ago is still in what others say


class Secrets:
    """The secrets of the configuration in force."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._seen: dict[str, deque[str]] = {}
        self.adopt(loaded)

    def adopt(self, loaded: LoadedConfig) -> None:
        """Take the secrets of another configuration; the values of the old one stay unsaid."""
        self._sources: Mapping[str, SecretSource] = loaded.config.secrets
        self._base, self._environ = loaded.base, loaded.environ

    def read(self, name: str) -> str:
        """Give a secret as it is now, less one newline at its end.

        Raises KeyError when it isn't configured, ConfigurationError when its source can't be read.
        """
        source = self._sources[name]
        if source.file is None:
            value = self._environ.get(source.env or "")
            if value is None:
                raise ConfigurationError(f"the secret {name} can't be read: the variable {source.env} is not set")
            return self._remember(name, value)
        try:
            value = (self._base / source.file).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"the secret {name} can't be read: {source.file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"the secret {name} can't be read: {source.file} is not UTF-8") from None
        return self._remember(name, value.removesuffix("\n").removesuffix("\r"))

    def _remember(self, name: str, value: str) -> str:
        seen = self._seen.setdefault(name, deque(maxlen=_REMEMBERED))
        if value in seen:
            seen.remove(value)  # the newest stands last
        seen.append(value)
        return value

    def refresh(self) -> None:
        """Read all, so that what was rotated is known; what can't be read is nobody's business before somebody needs it."""
        for name in self._sources:
            try:
                self.read(name)
            except ConfigurationError:
                continue

    @property
    def values(self) -> tuple[str, ...]:
        """Give every value that is known and long enough to be told from other words, the longest first."""
        found = {value for seen in self._seen.values() for value in seen if len(value) >= _SHORTEST}
        return tuple(sorted(found, key=lambda value: (-len(value), value)))

    def hide(self, text: str) -> str:
        """Take every known value out of a text, in every form that it may be echoed in."""
        return redact(text, dict.fromkeys(self.values, MARK))
