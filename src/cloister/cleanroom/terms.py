"""What two owners agree on, as data. Frozen; made by the readers of text or canonical bytes.

There are no defaults: what is not said is an error, and what is left out on purpose is `none`.
Text in, text out: digests are `sha256:<hex>`, keys `ed25519:<hex>`, volume ids 32 hex digits. What
each field may hold stands in `terms_schema.py`, as one table that both readers use.

Spec: cleanroom-terms-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from cloister.crypto.signature import VerifyingKey
from cloister.keyservice.policy.model import RootsOfTrust

__all__ = [
    "PARTIES",
    "Cell",
    "Close",
    "Data",
    "Framework",
    "Model",
    "Parties",
    "Party",
    "PrivacyTerms",
    "Queries",
    "Recipe",
    "Release",
    "Reports",
    "Shard",
    "Stealing",
    "Terms",
    "Training",
]

Party = Literal["model_owner", "data_owner"]
Framework = Literal["tensorflow", "jax", "torch"]
PARTIES: tuple[Party, Party] = ("model_owner", "data_owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """The two owners, by the public keys with which they sign and approve."""

    model_owner: str
    data_owner: str

    def key(self, party: Party) -> VerifyingKey:
        """Return the key of one of them."""
        return VerifyingKey.from_text(getattr(self, party))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One trainer's records: a sealed volume in one exact state.

    Attributes:
        id: The volume.
        root: Its state.
        examples: How many records it holds; the trainer refuses another number.
    """

    id: str
    root: str
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The records.

    Attributes:
        shards: By the index of the trainer that gets it.
        shape: Of one record.
        classes: How many labels there are.
    """

    shards: tuple[Shard, ...]
    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The recipe: a sealed volume in one exact state, and the digest of the files in it."""

    id: str
    root: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The volume that checkpoints and model go to, each encrypted once more for the room alone."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """A volume of each owner's, which both get the same report in."""

    model_owner: str
    data_owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How it is trained.

    Attributes:
        by: `trainer`: the recipe describes a model, which the trusted trainer trains. `recipe`: the
            recipe computes the differences itself.
        frameworks: By the index of the trainer.
        rounds: How many.
        steps_per_round: Batches that a trainer takes in each.
        batch: Records in a batch.
        mode: Whether a round waits for all trainers, or goes on up to `max_staleness` behind.
        max_staleness: Differences based on an older version than that are dropped.
        damping: `inverse` multiplies a difference by 1 / (1 + staleness).
        push_every: Rounds between two differences of one trainer.
        pull_every: Rounds between two pulls.
        parameters_max: No model has more; with it, all messages have their size.
        plan_max_bytes: No description of a model with what prepares its data is longer.
        norm_max: The largest Euclidean norm of a difference; a larger one is refused.
        checkpoint_every: Rounds between two checkpoints.
        seconds: The whole job ends then, whatever happened.
        restarts: How often an instance that failed may start again.
        port: Where the server listens, in the job's network.
        join_s: How long the server waits for trainers before it begins without them.
        tick_ms: Each trainer sends and gets one message of one size in each, whatever happens.
        prepare_ticks: Before the first round.
        round_ticks: In each round.
        closing_ticks: After the last round.
    """

    by: Literal["trainer", "recipe"]
    frameworks: tuple[Framework, ...]
    rounds: int
    steps_per_round: int
    batch: int
    mode: Literal["synchronous", "bounded-stale"]
    max_staleness: int
    damping: Literal["inverse", "none"]
    push_every: int
    pull_every: int
    parameters_max: int
    plan_max_bytes: int
    norm_max: Decimal
    checkpoint_every: int
    seconds: int
    restarts: int
    port: int
    join_s: int
    tick_ms: int
    prepare_ticks: int
    round_ticks: int
    closing_ticks: int

    @property
    def ticks(self) -> int:
        """How many ticks the exchange has, from its first to its last."""
        return self.prepare_ticks + self.rounds * self.round_ticks + self.closing_ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell gets, and which layers of confinement a machine may lack.

    Attributes:
        memory_bytes: Of its memory, reserved beforehand.
        scratch_bytes: Of its scratch, in memory.
        processor_s: Processor seconds of one use.
        tasks: Processes and threads.
        accept_missing: Names of layers without which it may run; empty for none.
    """

    memory_bytes: int
    scratch_bytes: int
    processor_s: int
    tasks: int
    accept_missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyTerms:
    """Differential privacy for each record, which the trusted trainer enforces.

    Attributes:
        clip: Euclidean norm that each record's gradient is clipped to.
        noise_multiplier: Standard deviation of the noise, in clips.
        delta: The failure probability that epsilon is stated for.
        epsilon_max: Training that would spend more is not started.
    """

    clip: Decimal
    noise_multiplier: Decimal
    delta: Decimal
    epsilon_max: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Which numbers about the training leave the room, and to whom.

    Attributes:
        metrics: The names of those that both owners get in their reports.
        digits: Decimal places; rounded before they are written.
        every_rounds: Rounds between two.
        receipt: What the server's receipt says as well, which the operator reads: the exposure, in
            tenths of bits, or nothing.
    """

    metrics: tuple[Literal["loss", "accuracy", "epsilon", "exposure"], ...]
    digits: int
    every_rounds: int
    receipt: Literal["none", "exposure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stealing:
    """What is done about a principal whose queries look like copying the model.

    Attributes:
        threshold: Of the signal, between 0 and 1: queries are noticed below it. Those that look
            natural have a signal above 0.95.
        action: `count` only reports it, `slow` answers later, `refuse` answers no more.
    """

    threshold: Decimal
    action: Literal["count", "slow", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Who may ask the model, how often, and what an answer says.

    Attributes:
        principals: Name to public key.
        limit: Queries of each, over the room's whole life.
        answer: The most likely labels alone, or with rounded scores.
        top_k: How many labels.
        digits: Decimal places of a score; 0 where there are none.
        tick_ms: Answers leave at these times only.
        stealing: What is done about copying.
    """

    principals: Mapping[str, str]
    limit: int
    answer: Literal["label", "rounded"]
    top_k: int
    digits: int
    tick_ms: int
    stealing: Stealing


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Who may end the room before its time: one of the owners, either alone, or both together."""

    who: Literal["model_owner", "data_owner", "either", "both"]

    def alone(self, party: Party) -> bool:
        """Tell whether a party may end it without the other."""
        return self.who in {party, "either"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Everything that two owners agree on; the policy follows from it and from nothing else.

    Attributes:
        terms: The format.
        name: The room's, and its policy's.
        namespace: Whose charter names both owners.
        predecessor: Hash of the policy that the room's policy replaces, or `none` for the first.
        service: Public key of the key service at which the room is.
        parties: The owners.
        roots_of_trust: Where it may run, in the words of release-policy-v1.
        runtime: Digests of interpreter and installed distributions.
        data: The records.
        recipe: The recipe.
        model: Where the model goes.
        reports: Where reports go.
        training: How it is trained.
        cell: What the recipe gets.
        privacy: What is enforced; None where nothing is.
        canaries: Records that are planted to measure what a model remembers; 0 for none.
        release: Which numbers are reported.
        queries: Who may ask.
        close: Who may end it.
    """

    terms: Literal["cloister/cleanroom-terms/v1"]
    name: str
    namespace: str
    predecessor: str
    service: str
    parties: Parties
    roots_of_trust: RootsOfTrust
    runtime: tuple[str, ...]
    data: Data
    recipe: Recipe
    model: Model
    reports: Reports
    training: Training
    cell: Cell
    privacy: PrivacyTerms | None
    canaries: int
    release: Release
    queries: Queries
    close: Close

    @property
    def trainers(self) -> int:
        """How many trainers there are: one for each shard."""
        return len(self.data.shards)
