"""Tables of components by name: lazy, with close-name suggestions, open to other packages."""

import difflib
import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

from jorbit.core.errors import ConfigError


class Registry(Mapping[str, str]):
    """Name -> "module:Class". A class is imported only when it is asked for.

    Other packages add components through the entry-point group of the plural kind (for example
    ``[project.entry-points."jorbit.models"]``).

    Args:
        kind: what the table holds, singular, used in messages: "model", "term", ...
        table: name -> "module:Class".

    Example:
        >>> Registry("loss", {"huber": "jorbit.losses.huber:Huber"}).suggest("hubber")
        'huber'
    """

    def __init__(self, kind: str, table: dict[str, str]):
        self.kind = kind
        self.group = f"jorbit.{kind}{'es' if kind.endswith('s') else 's'}"
        self._table = dict(table)
        self._with_plugins: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._with_plugins is None:
            plugins = {e.name: e.value for e in importlib.metadata.entry_points(group=self.group)}
            clash = sorted(set(plugins) & set(self._table))
            if clash:
                raise ConfigError(f"An installed package redefines the {self.kind} {clash[0]!r}: rename or remove it.")
            self._with_plugins = self._table | plugins
        return self._with_plugins

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def suggest(self, name: str) -> str | None:
        """The known name closest to `name`, or None."""
        close = difflib.get_close_matches(name, list(self._all()), n=1)
        return close[0] if close else None

    def load(self, name: str) -> Any:
        """The class behind a name.

        Raises:
            ConfigError: no such name; says which one is close.
        """
        if name not in self._all():
            close = self.suggest(name)
            hint = f" Did you mean {close!r}?" if close else ""
            raise ConfigError(
                f"There is no {self.kind} called {name!r}.{hint} Known: {', '.join(sorted(self._all()))}."
            )
        module, _, attribute = self._all()[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def name_of(self, cls: type) -> str:
        """The name under which a class is registered.

        Raises:
            ConfigError: the class is in no row of the table.
        """
        target = f"{cls.__module__}:{cls.__qualname__}"
        for name, value in self._all().items():
            if value == target:
                return name
        raise ConfigError(f"{target} is not a registered {self.kind}. Add one line to the table, or an entry point.")
