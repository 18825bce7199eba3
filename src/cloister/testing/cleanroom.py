"""Complete terms, signed by two owners, for tests that need a room.

Example::

    agreement = sample_agreement()
    agreement = sample_agreement(rounds="2", privacy="none")
"""

from __future__ import annotations

from typing import Final

from cloister.cleanroom.agreement import SignedTerms, sign_terms
from cloister.cleanroom.terms import Terms
from cloister.cleanroom.terms_text import parse_terms
from cloister.crypto.signature import SigningKey

__all__ = [
    "DATA_OWNER",
    "MODEL_OWNER",
    "PRINCIPAL",
    "sample_agreement",
    "sample_terms",
    "sample_text",
]

MODEL_OWNER: Final = SigningKey(b"\x11" * 32)
DATA_OWNER: Final = SigningKey(b"\x12" * 32)
PRINCIPAL: Final = SigningKey(b"\x13" * 32)

_TEXT: Final = """\
terms: cloister/cleanroom-terms/v1
name: digits
namespace: rooms/digits
predecessor: none
service: "ed25519:{service}"
parties:
  model_owner: "{model_owner}"
  data_owner: "{data_owner}"
roots_of_trust:
  sim:
    anchors: ["ed25519:{anchor}"]
    measurement: ["sha256:{measurement}"]
    minimum_svn: 1
    debug: refused
runtime: ["sha256:{runtime}"]
data:
  shards:
    - {{id: "{data_0}", root: "sha256:{root}", examples: 600}}
    - {{id: "{data_1}", root: "sha256:{root}", examples: 500}}
  shape: [8, 8]
  classes: 10
recipe: {{id: "{recipe}", root: "sha256:{root}", digest: "sha256:{digest}"}}
model: {{id: "{model}"}}
reports: {{model_owner: "{report_m}", data_owner: "{report_d}"}}
training:
  by: trainer
  frameworks: [tensorflow, jax]
  rounds: {rounds}
  steps_per_round: 10
  batch: 32
  mode: {mode}
  max_staleness: 0
  damping: inverse
  push_every: 1
  pull_every: 1
  parameters_max: 100000
  plan_max_bytes: 65536
  norm_max: "10"
  checkpoint_every: 5
  seconds: {seconds}
  restarts: 2
  port: 7600
  join_s: 30
  tick_ms: 50
  prepare_ticks: 100
  round_ticks: 10
  closing_ticks: 20
cell:
  memory_bytes: 2147483648
  scratch_bytes: 67108864
  processor_s: 600
  tasks: 64
  accept_missing: []
privacy: {privacy}
canaries: 10
release: {{metrics: [loss, accuracy], digits: 2, every_rounds: 5, receipt: none}}
queries:
  principals: {{clinic: "{principal}"}}
  limit: {limit}
  answer: rounded
  top_k: 3
  digits: 2
  tick_ms: 200
  stealing: {{threshold: "0.9", action: count}}
close: {{who: {who}}}
"""
_FACTS: Final = {
    "service": "51" * 32,
    "model_owner": MODEL_OWNER.public.text,
    "data_owner": DATA_OWNER.public.text,
    "principal": PRINCIPAL.public.text,
    "anchor": "a1" * 32,
    "measurement": "b2" * 32,
    "runtime": "d4" * 32,
    "root": "e5" * 32,
    "digest": "f6" * 32,
    "data_0": "d0" * 16,
    "data_1": "d1" * 16,
    "recipe": "c0" * 16,
    "model": "e0" * 16,
    "report_m": "f0" * 16,
    "report_d": "f1" * 16,
    "rounds": "20",
    "mode": "synchronous",
    "seconds": "120",
    "privacy": '{clip: "1", noise_multiplier: "1.1", delta: "0.00001", epsilon_max: "8"}',
    "limit": "100",
    "who": "data_owner",
}


def sample_text(**changes: str) -> str:
    """Return terms of a room with two trainers as text, with some of their facts replaced."""
    strangers = sorted(set(changes) - set(_FACTS))
    if strangers:
        raise LookupError(f"the sample has no fact {strangers[0]}")
    return _TEXT.format_map(_FACTS | changes)


def sample_terms(**changes: str) -> Terms:
    """Return such terms."""
    return parse_terms(sample_text(**changes).encode(), source="sample")


def sample_agreement(terms: Terms | None = None, **changes: str) -> SignedTerms:
    """Return terms that both owners of the sample have signed."""
    found = sample_terms(**changes) if terms is None else terms
    return sign_terms(found, DATA_OWNER, before=sign_terms(found, MODEL_OWNER)).agreed()
