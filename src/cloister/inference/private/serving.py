"""What `cloister.inference.server --private` adds: options, and the gate that they describe.

Everything comes from the server's arguments, which are the policy's, and from the files that the
launcher writes.

Spec: private-query-v1, clauses PQ-1, PQ-50 and PQ-59.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloister.crypto.certificate_signature import CertificateKey
from cloister.crypto.signature import VerifyingKey
from cloister.crypto.x509 import Identity
from cloister.errors import ConfigError, MalformedError
from cloister.inference.answers import HTTPRequest
from cloister.inference.http import Pages
from cloister.inference.private.binary_http import write_response
from cloister.inference.private.counting import BudgetCounter, Counter, RateCounter
from cloister.inference.private.gate import PrivateGate
from cloister.inference.private.keys import Sizes
from cloister.inference.private.replay import ReplayGuard
from cloister.inference.private.request_auth import Askers
from cloister.inference.private.ring import KeyRing, Terms
from cloister.launcher.passed_desk import Desk
from cloister.network.tls import AnyClient

__all__ = ["OUTER_CLIENTS", "add_options", "answer_bytes", "checked", "gate_of"]

OUTER_CLIENTS: Final = AnyClient("private queries are authenticated inside their envelopes")
_ANSWER_BYTES: Final = 65536
_PER_MINUTE: Final = 6000
_LEAST_ANSWER, _MOST_ANSWER = 1024, 2**28
_LEAST_LIFETIME, _MOST_LIFETIME = 60, 86400
_MAX_FILE_BYTES: Final = 1_048_577


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of private queries."""
    group = parser.add_argument_group("private queries")
    group.add_argument(
        "--private", action="store_true", help="answer queries in envelopes only, at /private"
    )
    group.add_argument(
        "--asker",
        action="append",
        default=[],
        metavar="NAME=ed25519:HEX",
        help="a principal who may ask, beside the listener's clients; repeatable",
    )
    group.add_argument(
        "--answer-bytes",
        action="append",
        default=[],
        metavar="[MODEL=]BYTES",
        help=f"size of every answer, of one model or of all (default {_ANSWER_BYTES}); repeatable",
    )
    group.add_argument("--budget", help="the policy's budget that each query spends one unit of")
    group.add_argument(
        "--rate",
        type=int,
        default=_PER_MINUTE,
        metavar="N",
        help=f"queries of one asker in a minute (default {_PER_MINUTE})",
    )
    group.add_argument(
        "--key-lifetime", type=int, default=3600, metavar="S", help="how long a key is good for"
    )
    group.add_argument(
        "--outer-plain",
        action="store_true",
        help="speak plain HTTP outside the envelopes, to a balancer that ends TLS itself",
    )


def checked(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options where they go together.

    Raises:
        ConfigError: They do not (`config.value`).
    """
    extra = options.asker or options.answer_bytes or options.budget or options.outer_plain
    if extra and not options.private:
        raise ConfigError(
            "--asker, --answer-bytes, --budget and --outer-plain go with --private",
            code="config.value",
        )
    if not _LEAST_LIFETIME <= options.key_lifetime <= _MOST_LIFETIME or options.rate < 1:
        raise ConfigError(
            "--key-lifetime is 60 s to a day, and --rate at least 1", code="config.value"
        )
    return options


def answer_bytes(options: argparse.Namespace, models: Sequence[str]) -> Callable[[str], int] | None:
    """Return how long answers about a model are, by its name; None where they are not padded.

    Raises:
        ConfigError: `config.value`: a size that cannot be meant.
    """
    return _sizes(options.answer_bytes, models).about if options.private else None


def gate_of(
    service: Pages,
    options: argparse.Namespace,
    *,
    clients: tuple[Identity, ...] | AnyClient,
    identity: Path,
    models: Sequence[str],
    clock: Callable[[], int],
) -> PrivateGate:
    """Return the gate before a service.

    Args:
        service: Answers inner requests.
        options: From `checked`.
        clients: The listener's rule; its identities are judged inside the envelope.
        identity: Folder with `cert.pem`, `key.pem` and `ca.pem`; read again for each new key.
        models: Names of the models that are served.
        clock: Seconds since the epoch.

    Raises:
        ConfigError: The options cannot be meant, nobody may ask, or there is no desk.
    """
    sizes = _sizes(options.answer_bytes, models)
    _require_describable(service, sizes, models)
    terms = Terms(
        sizes,
        request_bytes=options.max_request_bytes,
        lifetime_s=options.key_lifetime,
    )
    counters: list[Counter] = [RateCounter(options.rate)]
    if options.budget:
        desk = Desk.passed(os.environ, process=os.getpid())
        counters.append(BudgetCounter(options.budget, desk.spend))
    return PrivateGate(
        service.handle,
        ring=KeyRing(
            terms,
            lambda: CertificateKey(_read(identity / "cert.pem"), _read(identity / "key.pem")),
        ),
        askers=Askers(
            keys=_principals(options.asker),
            clients=() if isinstance(clients, AnyClient) else clients,
            ca_pem=_read(identity / "ca.pem"),
        ),
        guard=ReplayGuard(window_s=terms.window_s),
        counters=counters,
        clock=clock,
    )


def _principals(texts: Sequence[str]) -> dict[str, VerifyingKey]:
    pairs = [_asker(text) for text in texts]
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ConfigError("an --asker is named twice", code="config.value")
    return keys


def _asker(text: str) -> tuple[str, VerifyingKey]:
    name, _, key = text.partition("=")
    try:
        return name, VerifyingKey.from_text(key)
    except MalformedError as e:
        raise ConfigError("--asker is NAME=ed25519: and 64 hex digits", code="config.value") from e


def _sizes(texts: Sequence[str], models: Sequence[str]) -> Sizes:
    every, named = _ANSWER_BYTES, dict[str, int]()
    for text in texts:
        name, equals, number = text.rpartition("=")
        size = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0  # noqa: PLR2004  # digits
        if not _LEAST_ANSWER <= size <= _MOST_ANSWER or (equals and name not in models):
            raise ConfigError(
                f"--answer-bytes is [MODEL=]BYTES, from {_LEAST_ANSWER} to {_MOST_ANSWER}",
                code="config.value",
            )
        if equals:
            named[name] = size
        else:
            every = size
    return Sizes({name: named.get(name, every) for name in models}, every)


def _require_describable(service: Pages, sizes: Sizes, models: Sequence[str]) -> None:
    """Refuse sizes that keep clients from what describes a model, without which none can ask."""
    for target in ("/v2", *(f"/v2/models/{name}" for name in models)):
        size = sizes.of(target)
        described = service.handle(HTTPRequest("GET", target, {}, b""))
        if write_response(described, size=size) is None:
            raise ConfigError(
                f"--answer-bytes of {size} has no room for the page {target}",
                code="config.value",
                hint="clients ask for it first; it has about "
                f"{len(described.body)} bytes, and an answer some hundred more",
            )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
