"""First terms, written from facts: complete, commented, for both owners to read and change.

The facts are of this machine and of volumes that exist. Everything else is a proposal that stands
there in plain, so that nobody agrees to what he has not read.

Spec: cleanroom-terms-v1, clause CT-70.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cloister.cleanroom.terms import Framework, Parties, Shard
from cloister.cleanroom.terms_text import parse_terms

__all__ = ["Facts", "draft_terms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What terms are drafted from.

    Attributes:
        name: The room's name.
        namespace: Where it is.
        service: Public key of the key service.
        parties: The owners.
        anchor: Public key of the simulated platform.
        launcher: Digest of the launcher's image, as text.
        svn: The platform's security version.
        runtime: Digest of interpreter and packages, as text.
        shards: The records.
        shape: Of one.
        classes: How many labels there are.
        recipe: Volume, state and digest of the files, as texts.
        model: The volume that the model goes to.
        reports: The volumes of the model owner and the data owner that reports go to.
        frameworks: One for each shard.
        rounds: How many.
        principals: Name to public key.
    """

    name: str
    namespace: str
    service: str
    parties: Parties
    anchor: str
    launcher: str
    svn: int
    runtime: str
    shards: tuple[Shard, ...]
    shape: tuple[int, ...]
    classes: int
    recipe: tuple[str, str, str]
    model: str
    reports: tuple[str, str]
    frameworks: tuple[Framework, ...]
    rounds: int
    principals: Mapping[str, str]


def draft_terms(facts: Facts) -> str:
    """Return YAML that says these facts, with a proposal for everything else.

    Raises:
        MalformedError: The facts make no terms (`terms.invalid`).
    """
    text = "\n".join(_lines(facts)) + "\n"
    parse_terms(text.encode(), source="draft")
    return text


def _lines(facts: Facts) -> Iterator[str]:
    yield "# Terms of a clean room: what two owners agree on. Both sign exactly this."
    yield "# Nothing is left out silently: every key is needed, and none is said by `none`."
    yield "terms: cloister/cleanroom-terms/v1"
    yield f"name: {_json(facts.name)}"
    yield "# Its charter names both owners, and asks for both."
    yield f"namespace: {_json(facts.namespace)}"
    yield "# The hash of the policy that the room's policy replaces."
    yield "predecessor: none"
    yield f"service: {_json(facts.service)}"
    yield "parties:"
    yield f"  model_owner: {_json(facts.parties.model_owner)}"
    yield f"  data_owner: {_json(facts.parties.data_owner)}"
    yield "# Where it may run, in the words of a policy. Simulated evidence is for development."
    yield "roots_of_trust:"
    yield "  sim:"
    yield f"    anchors: [{_json(facts.anchor)}]"
    yield f"    measurement: [{_json(facts.launcher)}]"
    yield f"    minimum_svn: {facts.svn}"
    yield "    debug: refused"
    yield "# The interpreter with every installed package."
    yield f"runtime: [{_json(facts.runtime)}]"
    yield from _data_lines(facts)
    yield from _training_lines(facts)
    yield from _rest_lines(facts)


def _data_lines(facts: Facts) -> Iterator[str]:
    yield "# A sealed volume for each trainer, with x.npy and y.npy; no trainer opens another's."
    yield "data:"
    yield "  shards:"
    for shard in facts.shards:
        yield f"    - {{id: {_json(shard.id)}, root: {_json(shard.root)},"
        yield f"       examples: {shard.examples}}}"
    yield f"  shape: {_json(facts.shape)}"
    yield f"  classes: {facts.classes}"
    yield "# A sealed volume with recipe.py; the digest is of its files: their text stays hidden."
    volume, root, digest = facts.recipe
    yield "recipe:"
    yield f"  id: {_json(volume)}"
    yield f"  root: {_json(root)}"
    yield f"  digest: {_json(digest)}"
    yield "# Where checkpoints and model go, sealed once more by a key that neither owner has."
    yield f"model: {{id: {_json(facts.model)}}}"
    yield "# Where both owners find the same report, each in a volume of their own."
    yield "reports:"
    for party, report in zip(("model_owner", "data_owner"), facts.reports, strict=True):
        yield f"  {party}: {_json(report)}"


def _training_lines(facts: Facts) -> Iterator[str]:
    prepare, round_ticks, closing, tick_ms, join_s = 600, 20, 40, 100, 120
    ticks = prepare + facts.rounds * round_ticks + closing
    yield "training:"
    yield "  # trainer: the recipe describes a model, and the trusted trainer trains it."
    yield "  # recipe: the recipe trains; then no privacy can be promised."
    yield "  by: trainer"
    yield f"  frameworks: {_json(facts.frameworks)}"
    yield f"  rounds: {facts.rounds}"
    yield "  steps_per_round: 10"
    yield f"  batch: {min(32, *(shard.examples for shard in facts.shards))}"
    yield "  mode: synchronous"
    yield "  max_staleness: 0"
    yield "  damping: inverse"
    yield "  push_every: 1"
    yield "  pull_every: 1"
    yield "  # With this, every message between trainer and server has its size."
    yield "  parameters_max: 100000"
    yield "  plan_max_bytes: 1048576"
    yield "  # The longest difference that a trainer may add."
    yield '  norm_max: "100"'
    yield f"  checkpoint_every: {min(10, facts.rounds)}"
    yield "  # The job ends then, whatever happened."
    yield f"  seconds: {join_s + ticks * tick_ms // 1000 + 120}"
    yield "  restarts: 2"
    yield "  port: 7600"
    yield f"  join_s: {join_s}"
    yield "  # One message each way at every tick, with 4 bytes for each of parameters_max."
    yield f"  tick_ms: {tick_ms}"
    yield f"  prepare_ticks: {prepare}"
    yield f"  round_ticks: {round_ticks}"
    yield f"  closing_ticks: {closing}"


def _rest_lines(facts: Facts) -> Iterator[str]:
    yield "# What the recipe gets, and which layers of confinement a machine may lack."
    yield "cell:"
    yield "  memory_bytes: 4294967296"
    yield "  scratch_bytes: 268435456"
    yield "  processor_s: 3600"
    yield "  tasks: 128"
    yield "  accept_missing: []"
    yield "# For each record; `none` promises nothing about what the model says of one."
    yield 'privacy: {clip: "1", noise_multiplier: "1.1", delta: "0.00001", epsilon_max: "8"}'
    yield "# Planted records, by which is measured what the model remembers."
    yield f"canaries: {min(10, *(shard.examples for shard in facts.shards))}"
    yield "# The numbers that both owners get in their reports, rounded. The operator reads the"
    yield "# receipt: exposure says there, in tenths of bits, what the model remembers; or none."
    yield "release: {metrics: [loss, accuracy, epsilon, exposure], digits: 2,"
    yield f"  every_rounds: {min(10, facts.rounds)}, receipt: exposure}}"
    yield "# Who may ask the model, how often in all, and what an answer says."
    yield "queries:"
    yield "  principals:"
    for name, key in facts.principals.items():
        yield f"    {_json(name)}: {_json(key)}"
    yield "  limit: 1000"
    yield "  answer: label"
    yield "  top_k: 1"
    yield "  digits: 0"
    yield "  # One query in each; answers leave then. What does not fit in has no answer."
    yield "  tick_ms: 500"
    yield '  stealing: {threshold: "0.9", action: refuse}'
    yield "# Who may end it: model_owner, data_owner, either alone, or both together."
    yield "close: {who: either}"


def _json(value: str | Sequence[str] | Sequence[int]) -> str:
    return json.dumps(value, ensure_ascii=False)
