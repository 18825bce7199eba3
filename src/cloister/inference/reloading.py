"""What is served follows what lies in the catalogue, one version at a time.

`Reloader.step` looks, and where something changed loads what is new beside what is served, then
puts the new table in place in one assignment. A version that cannot be served is refused, by its
mark, until its files change; until then the versions before it go on. One version is loaded at a
time, so beside what is served and what queries still hold there is never more than one more model,
and the same again in the process that tries it.

A version counts only when two looks agree on it, so that one which is being written is left alone.

Spec: serving-v1, clauses SRV-44 to SRV-46.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Final, Protocol

from cloister.errors import CloisterError, UnavailableError
from cloister.inference.catalogue import (
    Key,
    Listing,
    Mark,
    ModelFiles,
    look,
    read_version,
    wanted,
)
from cloister.inference.registry import Registry, Served, Shelf

__all__ = ["Loads", "Reloader", "shelves_of"]

_LOG: Final = logging.getLogger(__name__)


class Loads(Protocol):
    """What makes a served version of files."""

    def load(self, key: Key, files: ModelFiles) -> Served:
        """Return a version that answers, or raise one of our errors."""
        ...


class Reloader:
    """Keeps a registry as its catalogue is. Not safe to share between threads."""

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        *,
        loader: Loads,
        latest: int,
        changed: Callable[[str], None] | None = None,
    ) -> None:
        """Take where models lie and what serves them.

        Args:
            folder: The catalogue.
            registry: Is changed.
            loader: Makes versions of files.
            latest: Versions of a model, where its `versions.json` does not say.
            changed: Is told of each version `loaded`, `dropped`, or the code of its refusal.
        """
        self._folder = folder
        self._registry = registry
        self._loader = loader
        self._latest = latest
        self._changed = changed or (lambda _outcome: None)
        self._served: dict[Key, tuple[Mark, Served]] = {}
        self._refused: dict[Key, tuple[Mark, str]] = {}
        self._seen: Listing | None = None
        self._told: set[tuple[str, str]] = set()

    def step(self, *, settled: bool = False) -> None:
        """Look once, and serve what is there.

        Args:
            settled: Take what lies there as whole, without a second look.

        Raises:
            ConfigError: `config.file`: the catalogue cannot be read.
        """
        listing = look(self._folder, latest=self._latest)
        before, self._seen = self._seen, listing
        self._tell_strange(listing)
        self._forget_refusals(listing)
        refusals = -1
        while refusals != len(self._refused):
            refusals = len(self._refused)
            for key, mark in self._want(listing).items():
                steady = settled or (before is not None and before.versions.get(key) == mark)
                if steady and self._is_new(key, mark):
                    self._take_in(key, mark, listing)
        self._show(listing)

    def _want(self, listing: Listing) -> dict[Key, Mark]:
        """Return what is to be served, older versions in the place of those that cannot be."""
        return wanted(listing, without=self._refused.keys() - self._served.keys())

    def _is_new(self, key: Key, mark: Mark) -> bool:
        served, refused = self._served.get(key), self._refused.get(key)
        return (served is None or served[0] != mark) and (refused is None or refused[0] != mark)

    def _take_in(self, key: Key, mark: Mark, listing: Listing) -> None:
        shown = f"{key[0]}/{key[1]}"
        try:
            served = self._loader.load(key, read_version(self._folder, key))
        except (UnavailableError, MemoryError) as e:
            _LOG.warning("model postponed version=%s reason=%s", shown, e)
            return
        except CloisterError as e:
            self._refused[key] = (mark, e.code)
            self._changed(e.code)
            reason = f"{e.public}; next: {e.hint}" if e.hint else e.public
            _LOG.warning("model refused version=%s code=%s reason=%s", shown, e.code, reason)
            return
        self._served[key] = (mark, served)
        self._refused.pop(key, None)
        self._show(listing)
        self._changed("loaded")
        _LOG.info("model loaded version=%s", shown)

    def _show(self, listing: Listing) -> None:
        """Put the table in place, and let go of what is not in it."""
        keep = _kept(self._want(listing), self._served, unread=listing.unread)
        for key in self._served.keys() - keep:
            del self._served[key]
            self._changed("dropped")
            _LOG.info("model dropped version=%s/%s", *key)
        table = {key: served for key, (_, served) in self._served.items()}
        refused = {key: code for key, (_, code) in self._refused.items()}
        self._registry.replace(shelves_of(table, listing), refused=refused)

    def _forget_refusals(self, listing: Listing) -> None:
        for key, (mark, _) in list(self._refused.items()):
            if listing.versions.get(key) != mark:
                del self._refused[key]

    def _tell_strange(self, listing: Listing) -> None:
        found = {(each.place, each.sentence) for each in listing.strange}
        for place, sentence in sorted(found - self._told):
            self._changed("strange")
            _LOG.warning("not served place=%s reason=%s", _printable(place), sentence)
        self._told = found


def shelves_of(table: Mapping[Key, Served], listing: Listing) -> dict[str, Shelf]:
    """Return versions by model, oldest first, with their labels."""
    shelves: dict[str, Shelf] = {}
    for name in sorted({name for name, _ in table}):
        numbers = sorted(number for model, number in table if model == name)
        rule = listing.rules.get(name)
        labels = {} if rule is None else {label: str(n) for label, n in rule.labels.items()}
        shelves[name] = Shelf({str(n): table[name, n] for n in numbers}, labels)
    return shelves


def _kept(want: Mapping[Key, Mark], served: Iterable[Key], *, unread: Set[str]) -> set[Key]:
    """Return what goes on being served: what is wanted, and what stands in where that failed.

    Where fewer versions of a model are served than wanted, as many older ones stay; and all of a
    model of which nothing could be read.
    """
    there = set(served)
    keep = (there & set(want)) | {key for key in there if key[0] in unread}
    for name in {name for name, _ in want}:
        missing = sum(1 for key in want if key[0] == name and key not in there)
        older = sorted((key for key in there if key[0] == name and key not in want), reverse=True)
        keep |= set(older[:missing])
    return keep


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:128])
