"""What each field of terms may hold: one table, used for YAML and for canonical bytes alike.

The kinds are those of policies, and what is a policy's (names, roots of trust) is read by the
policy's own table.

Spec: cleanroom-terms-v1, clauses CT-1 to CT-12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from cloister.cleanroom.terms import (
    Cell,
    Close,
    Data,
    Model,
    Parties,
    PrivacyTerms,
    Queries,
    Recipe,
    Release,
    Reports,
    Shard,
    Stealing,
    Terms,
    Training,
)
from cloister.keyservice.policy.kinds import (
    UNREADABLE,
    ChoiceKind,
    IntegerKind,
    Kind,
    ListKind,
    MapKind,
    RecordKind,
    text_kind,
)
from cloister.keyservice.policy.node import Node, Problems, TextNode, place_of
from cloister.keyservice.policy.schema import POLICY

__all__ = ["MAX_TRAINERS", "TERMS", "read_terms"]

MAX_TRAINERS: Final = 8
_HEX64: Final = "[0-9a-f]{64}"
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class _DecimalKind:
    """A decimal number in one spelling, written as a text: no reader rounds it."""

    minimum: Decimal
    maximum: Decimal

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return (
            f'a decimal number from "{self.minimum:f}" to "{self.maximum:f}" in quotes, with at '
            "most 12 decimal places and without zeros that say nothing"
        )

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        value = text_kind(
            self.allowed, r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,11}[1-9])?", max_length=22
        ).read(node, path, problems)
        if not isinstance(value, str):
            return value
        number = Decimal(value)
        if not self.minimum <= number <= self.maximum:
            problems.add(node, path, message=f"expected {self.allowed}; found {value}")
            return UNREADABLE
        return number


@dataclass(frozen=True, slots=True)
class _NoneOr:
    """The word `none`, or what is meant: leaving out is written, never forgotten."""

    kind: Kind

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"'none', or {self.kind.allowed}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if isinstance(node, TextNode) and node.text == _NONE:
            return None
        return self.kind.read(node, path, problems)


def _decimal(minimum: str, maximum: str) -> _DecimalKind:
    return _DecimalKind(Decimal(minimum), Decimal(maximum))


def read_terms(root: Node, problems: Problems) -> Terms | None:
    """Return the terms that a tree says, or None after noting every reason why it says none."""
    value = TERMS.read(root, "", problems)
    if isinstance(value, Terms) and not problems.found:
        for path, message in _contradictions(value):
            line, column = place_of(path, problems.positions) or (0, 0)
            problems.add(Node(line, column), path, message=message)
    return value if isinstance(value, Terms) and not problems.found else None


_DIGEST: Final = text_kind(
    "a digest, sha256: and 64 lower-case hex digits", f"sha256:{_HEX64}", max_length=71
)
_KEY: Final = text_kind(
    "a public key, ed25519: and 64 lower-case hex digits", f"ed25519:{_HEX64}", max_length=72
)
_VOLUME_ID: Final = text_kind(
    "a volume's identity, 32 lower-case hex digits", "[0-9a-f]{32}", max_length=32
)
_PRINCIPAL: Final = text_kind(
    "a name of 1 to 63 lower-case letters, digits and hyphens that begins with a letter",
    "[a-z][a-z0-9-]*",
    max_length=63,
)
_LAYER: Final = text_kind(
    "the name of a layer: lower-case letters, digits, underscores and hyphens",
    "[a-z][a-z0-9_-]*",
    max_length=63,
)

_DATA: Final = RecordKind(
    Data,
    "the records",
    {
        "shards": ListKind(
            RecordKind(
                Shard,
                "a shard",
                {"id": _VOLUME_ID, "root": _DIGEST, "examples": IntegerKind(1, 1_000_000_000)},
            ),
            MAX_TRAINERS,
            "shards, one for each trainer",
        ),
        "shape": ListKind(IntegerKind(1, 65_536), 4, "sizes", unique=False),
        "classes": IntegerKind(2, 100_000),
    },
)
_TRAINING: Final = RecordKind(
    Training,
    "the training",
    {
        "by": ChoiceKind(("trainer", "recipe")),
        "frameworks": ListKind(
            ChoiceKind(("tensorflow", "jax", "torch")),
            MAX_TRAINERS,
            "frameworks, one for each trainer",
            unique=False,
        ),
        "rounds": IntegerKind(1, 1_000_000),
        "steps_per_round": IntegerKind(1, 1_000_000),
        "batch": IntegerKind(1, 65_536),
        "mode": ChoiceKind(("synchronous", "bounded-stale")),
        "max_staleness": IntegerKind(0, 1000),
        "damping": ChoiceKind(("inverse", _NONE)),
        "push_every": IntegerKind(1, 10_000),
        "pull_every": IntegerKind(1, 10_000),
        "parameters_max": IntegerKind(1, 1 << 28),
        "plan_max_bytes": IntegerKind(1024, 1 << 26),
        "norm_max": _decimal("0.000001", "100000000"),
        "checkpoint_every": IntegerKind(1, 1_000_000),
        "seconds": IntegerKind(1, 31_536_000),
        "restarts": IntegerKind(0, 100),
        "port": IntegerKind(1024, 65_535),
        "join_s": IntegerKind(1, 86_400),
        "tick_ms": IntegerKind(10, 3_600_000),
        "prepare_ticks": IntegerKind(1, 1_000_000),
        "round_ticks": IntegerKind(3, 1_000_000),
        "closing_ticks": IntegerKind(1, 1_000_000),
    },
)
_CELL: Final = RecordKind(
    Cell,
    "a cell",
    {
        "memory_bytes": IntegerKind(1 << 26, 1 << 42),
        "scratch_bytes": IntegerKind(1 << 16, 1 << 40),
        "processor_s": IntegerKind(1, 31_536_000),
        "tasks": IntegerKind(1, 4096),
        "accept_missing": ListKind(_LAYER, 32, "names of layers", minimum=0),
    },
)
_PRIVACY: Final = _NoneOr(
    RecordKind(
        PrivacyTerms,
        "differential privacy",
        {
            "clip": _decimal("0.000001", "1000000"),
            "noise_multiplier": _decimal("0.01", "1000000"),
            "delta": _decimal("0.000000000001", "0.1"),
            "epsilon_max": _decimal("0.000001", "1000"),
        },
    )
)
_RELEASE: Final = RecordKind(
    Release,
    "what is reported",
    {
        "metrics": ListKind(
            ChoiceKind(("loss", "accuracy", "epsilon", "exposure")), 4, "metrics", minimum=0
        ),
        "digits": IntegerKind(0, 6),
        "every_rounds": IntegerKind(1, 1_000_000),
        "receipt": ChoiceKind((_NONE, "exposure")),
    },
)
_QUERIES: Final = RecordKind(
    Queries,
    "who may ask",
    {
        "principals": MapKind(_PRINCIPAL, _KEY, 64, "principals", minimum=1),
        "limit": IntegerKind(1, 1_000_000_000),
        "answer": ChoiceKind(("label", "rounded")),
        "top_k": IntegerKind(1, 100),
        "digits": IntegerKind(0, 6),
        "tick_ms": IntegerKind(1, 3_600_000),
        "stealing": RecordKind(
            Stealing,
            "what is done about copying",
            {"threshold": _decimal("0", "1"), "action": ChoiceKind(("count", "slow", "refuse"))},
        ),
    },
)

TERMS: Final = RecordKind(
    Terms,
    "terms",
    {
        "terms": ChoiceKind(("cloister/cleanroom-terms/v1",)),
        "name": POLICY.fields["name"],
        "namespace": POLICY.fields["namespace"],
        "predecessor": POLICY.fields["predecessor"],
        "service": _KEY,
        "parties": RecordKind(Parties, "the owners", {"model_owner": _KEY, "data_owner": _KEY}),
        "roots_of_trust": POLICY.fields["roots_of_trust"],
        "runtime": ListKind(_DIGEST, 64, "digests (sha256:…)"),
        "data": _DATA,
        "recipe": RecordKind(
            Recipe, "the recipe", {"id": _VOLUME_ID, "root": _DIGEST, "digest": _DIGEST}
        ),
        "model": RecordKind(Model, "where the model goes", {"id": _VOLUME_ID}),
        "reports": RecordKind(
            Reports,
            "where reports go",
            {"model_owner": _VOLUME_ID, "data_owner": _VOLUME_ID},
        ),
        "training": _TRAINING,
        "cell": _CELL,
        "privacy": _PRIVACY,
        "canaries": IntegerKind(0, 10_000),
        "release": _RELEASE,
        "queries": _QUERIES,
        "close": RecordKind(
            Close,
            "who may end it",
            {"who": ChoiceKind(("model_owner", "data_owner", "either", "both"))},
        ),
    },
)


def _contradictions(terms: Terms) -> list[tuple[str, str]]:
    """Return what each field allows and the whole does not: path, and what is wrong."""
    return [(path, found) for path, check in _RULES.items() if (found := check(terms))]


def _roots(terms: Terms) -> str:
    return "" if terms.roots_of_trust.names else "no evidence is accepted: name a root of trust"


def _parties(terms: Terms) -> str:
    same = terms.parties.model_owner == terms.parties.data_owner
    return "the owners are two, and have a key each" if same else ""


def _volumes(terms: Terms) -> str:
    ids = [shard.id for shard in terms.data.shards]
    ids += [terms.recipe.id, terms.model.id, terms.reports.model_owner, terms.reports.data_owner]
    return "" if len(set(ids)) == len(ids) else "one volume stands for two things"


def _frameworks(terms: Terms) -> str:
    enough = len(terms.training.frameworks) == terms.trainers
    return "" if enough else f"there are {terms.trainers} trainers, one for each shard"


def _staleness(terms: Terms) -> str:
    stale = terms.training.mode == "synchronous" and terms.training.max_staleness != 0
    return "a synchronous round has no staleness: write 0" if stale else ""


def _batch(terms: Terms) -> str:
    smallest = min(shard.examples for shard in terms.data.shards)
    return f"a shard has only {smallest} examples" if terms.training.batch > smallest else ""


def _seconds(terms: Terms) -> str:
    training = terms.training
    least = training.join_s * 1000 + training.ticks * training.tick_ms
    needed = f"joining and {training.ticks} ticks need {-(-least // 1000)} s"
    return needed if training.seconds * 1000 < least else ""


def _intervals(terms: Terms) -> str:
    training = terms.training
    if training.mode == "synchronous" and (training.push_every, training.pull_every) != (1, 1):
        return "synchronous trainers push and pull in every round: write 1"
    longest = max(training.push_every, training.pull_every, training.checkpoint_every)
    return f"there are only {training.rounds} rounds" if longest > training.rounds else ""


def _privacy(terms: Terms) -> str:
    training = terms.training
    if terms.privacy is not None and training.by == "recipe":
        return "only the trusted trainer enforces privacy: by: trainer, or none"
    if terms.privacy is not None and training.mode == "bounded-stale" and training.restarts:
        # A trainer that is started again computes its round twice, and both could be added.
        return "no epsilon covers a round that counts twice: restarts: 0, or mode: synchronous"
    return ""


def _canaries(terms: Terms) -> str:
    smallest = min(shard.examples for shard in terms.data.shards)
    return "more canaries than a shard has examples" if terms.canaries > smallest else ""


def _metrics(terms: Terms) -> str:
    if "epsilon" in terms.release.metrics and terms.privacy is None:
        return "there is no epsilon without privacy"
    if "exposure" in terms.release.metrics and not terms.canaries:
        return "there is no exposure without canaries"
    if terms.release.receipt == "exposure" and "exposure" not in terms.release.metrics:
        return "no receipt says an exposure that is not measured: name it in metrics"
    return ""


def _answers(terms: Terms) -> str:
    queries = terms.queries
    if queries.top_k > terms.data.classes:
        return "an answer has more labels than there are classes"
    if queries.answer == "label" and queries.digits:
        return "a label has no digits: write 0"
    return ""


_RULES: Final[Mapping[str, Callable[[Terms], str]]] = {
    "roots_of_trust": _roots,
    "parties": _parties,
    "data.shards": _volumes,
    "training.frameworks": _frameworks,
    "training.max_staleness": _staleness,
    "training.batch": _batch,
    "training.seconds": _seconds,
    "training.push_every": _intervals,
    "privacy": _privacy,
    "canaries": _canaries,
    "release.metrics": _metrics,
    "queries": _answers,
}
