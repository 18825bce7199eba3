"""Secrets over a policy's life: updates, rotation, removal, puts, restarts, releases.

The model knows one sentence: an epoch of a secret names one value for ever, which goes out while
the policy in force says current or readable, and never again after that.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloister.errors import CloisterError
from cloister.keyservice.bundle import Bundle
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import ask, secret_policy

NAMES: Final = ("one", "two")
FORMS: Final = {"made": "symmetric: {bytes: 16}", "put": "opaque: {max_bytes: 64}"}
Declared = dict[str, tuple[str, int, tuple[int, ...]]]

DECLARED = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(sorted(FORMS)), st.integers(1, 4), st.lists(st.integers(1, 3))).map(
        lambda found: (found[0], found[1], tuple(sorted({e for e in found[2] if e < found[1]})))
    ),
)


def epochs_of(declared: Declared) -> set[tuple[str, int]]:
    """Every epoch that a policy resolves."""
    return {
        (name, epoch) for name, (_, current, old) in declared.items() for epoch in (current, *old)
    }


def code_of(do: Callable[[], object]) -> str:
    """The code of a refusal, or nothing."""
    try:
        do()
    except CloisterError as e:
        return e.code
    return ""


class SecretEpochs(RuleBasedStateMachine):
    """One policy, updated by its owner."""

    @initialize()
    def begin(self) -> None:
        """A service, and a policy without secrets."""
        self.folder = Path(tempfile.mkdtemp(prefix="cloister-secrets-"))
        self.bench = ServiceBench.create(self.folder)
        self.declared: Declared = {}
        self.newest: dict[str, tuple[int, str]] = {}  # of each name ever: epoch, form or ""
        self.held: set[tuple[str, int]] = set()
        self.values: dict[tuple[str, int], bytes] = {}  # as they were first seen, for ever
        self.policy = self._apply({}, None)

    def teardown(self) -> None:
        """Close the service."""
        if hasattr(self, "bench"):
            self.bench.close()
            shutil.rmtree(self.folder)

    def _apply(self, declared: Declared, predecessor: bytes | None) -> bytes:
        secrets = "".join(
            f"\n  {name}: {{{FORMS[form]}, epoch: {epoch}"
            + (f", readable: {list(readable)}" if readable else "")
            + "}"
            for name, (form, epoch, readable) in declared.items()
        )
        files = "".join(
            f'\n      /run/{name}-{epoch}: {{content: "${{secret:{name}@{epoch}}}"}}'
            for name, epoch in sorted(epochs_of(declared))
        )
        self.bench.clock.move(60)  # each update is another policy, also where nothing changed
        text = secret_policy(
            self.bench,
            secrets=secrets,
            files=files,
            predecessor=predecessor,
            environment=f'{{CHANGE: "{self.bench.clock.at}"}}',
        )
        return self.bench.apply(text)

    def _is_allowed(self, declared: Declared) -> bool:
        for name, (form, epoch, readable) in declared.items():
            newest = self.newest.get(name)
            if newest is not None and newest != (epoch, form) and epoch <= newest[0]:
                return False
            if any((name, old) not in self.held for old in readable):
                return False
        return True

    @rule(declared=DECLARED)
    def update(self, declared: Declared) -> None:
        """The owner applies another version; a refused one changes nothing."""
        applied: list[bytes] = []
        code = code_of(lambda: applied.append(self._apply(declared, self.policy)))
        assert code == ("" if self._is_allowed(declared) else "policy.epoch")
        if applied:
            (self.policy,) = applied
            self._follow(declared)

    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        """The owner raises one epoch, and keeps the value before readable or not."""
        if not self.declared:
            return
        name = data.draw(st.sampled_from(sorted(self.declared)))
        form, epoch, _ = self.declared[name]
        keeps = data.draw(st.booleans()) and (name, epoch) in self.held
        self.update({**self.declared, name: (form, epoch + 1, (epoch,) if keeps else ())})

    def _follow(self, declared: Declared) -> None:
        self.declared = declared
        for name, (form, epoch, _) in declared.items():
            self.newest[name] = (epoch, form)
            if form == "made":
                self.held.add((name, epoch))
        for name in set(self.newest) - set(declared):
            self.newest[name] = (self.newest[name][0], "")
        self.held &= epochs_of(declared)

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from([b"a-value", b"another"]))
    def put(self, name: str, value: bytes) -> None:
        """The owner puts a value, for the current epoch of a secret or for what is none."""
        form, epoch, _ = self.declared.get(name, ("", 1, ()))
        known = self.values.get((name, epoch)) if (name, epoch) in self.held else None
        code = code_of(
            lambda: self.bench.owner().secrets.put(
                value,
                namespace="lab",
                policy="keeper",
                name=name,
                epoch=epoch,
                service_hpke=self.bench.domain.hpke,
            )
        )
        if code:
            assert form != "put" or (code == "config.exists" and known not in {None, value})
            return
        assert form == "put"
        assert known in {None, value}
        assert self.values.setdefault((name, epoch), value) == value
        self.held.add((name, epoch))

    @rule()
    def restart(self) -> None:
        """The service starts again from its state."""
        self.bench.restart()

    @rule()
    def release(self) -> None:
        """A workload gets each epoch that the policy names, and always the same."""
        wanted = epochs_of(self.declared)
        bundles: list[Bundle] = []
        code = code_of(lambda: bundles.append(ask(self.bench, self.policy)))
        assert code == ("" if wanted <= self.held else "release.secret-missing")
        if not bundles:
            return
        files = bundles[0].files
        assert len(files) == len(wanted)
        for name, epoch in wanted:
            value = files[f"/run/{name}-{epoch}"].content
            assert self.values.setdefault((name, epoch), value) == value
        made = [value for value in self.values.values() if len(value) >= 16]
        assert len(set(made)) == len(made)

    @invariant()
    def what_is_held_is_what_the_policy_names(self) -> None:
        """The service and the model agree, and the service keeps no more."""
        if not hasattr(self, "bench"):
            return
        facts = self.bench.owner().secrets.list(namespace="lab", policy="keeper")
        assert {(fact.name, fact.epoch) for fact in facts} == epochs_of(self.declared)
        assert {(fact.name, fact.epoch) for fact in facts if fact.present} == self.held


TestSecretEpochs = pytest.mark.slow(SecretEpochs.TestCase)
TestSecretEpochs.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
