"""The words that start a model server."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError
from cloister.inference.http import Limits
from cloister.inference.private import serving

__all__ = ["parse_options", "require_one_source", "require_usable_limits"]

_TIMES: Final = ("deadline", "request_timeout", "idle_timeout", "handshake_timeout")
_COUNTS: Final = (
    "threads",
    "computations",
    "waiting",
    "connections",
    "max_request_bytes",
    "latest",
)
_IDENTITY: Final = Path("/run/cloister/identity")
_LISTENERS: Final = Path("/run/cloister/listeners.json")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; a word that is none ends the process with status 2."""
    parser = argparse.ArgumentParser(prog="cloister.inference.server", allow_abbrev=False)
    _add_models(parser)
    _add_connections(parser)
    _add_limits(parser)
    serving.add_options(parser)
    return parser.parse_args(arguments)


def require_one_source(options: argparse.Namespace) -> None:
    """Refuse words that name no models, or several sources of them.

    Raises:
        ConfigError: `config.missing` or `config.value`.
    """
    sources = [options.model, options.models, options.package]
    if sum(source is not None for source in sources) != 1:
        raise ConfigError(
            "exactly one of --model, --models and --package says what is served",
            code="config.missing" if not any(sources) else "config.value",
        )
    if options.models is None and options.name is None:
        raise ConfigError("--model and --package need --name", code="config.missing")
    if options.models is not None and options.name is not None:
        raise ConfigError("in --models, folders are the names", code="config.value")
    whole = options.package is None
    extra = (options.require, options.signer, options.secret, options.middle, options.top)
    if whole and any(each is not None for each in (*extra, options.batch)):
        raise ConfigError(
            "--require, --signer, --secret, --middle, --top and --batch go with --package",
            code="config.value",
        )
    checked = options.require and options.signer and options.secret
    if not whole and not (checked and options.middle):
        raise ConfigError(
            "--package needs --secret, --signer, --require and --middle: nothing goes unchecked",
            code="config.missing",
        )


def require_usable_limits(options: argparse.Namespace) -> None:
    """Refuse limits by which no query would ever be answered.

    Raises:
        ConfigError: `config.value`.
    """
    values = vars(options)
    for name in _TIMES:
        if not (math.isfinite(values[name]) and values[name] > 0):
            raise ConfigError(f"{_word(name)} is a number of seconds above 0", code="config.value")
    for name in _COUNTS:
        if values[name] < 1:
            raise ConfigError(f"{_word(name)} is at least 1", code="config.value")


def _word(name: str) -> str:
    return "--" + name.replace("_", "-")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="a .tflite or .onnx file; needs --name")
    parser.add_argument("--name", help="the model's name in URLs")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="FOLDER",
        help="a catalogue, NAME/VERSION/model.tflite; what changes in it is noticed",
    )
    parser.add_argument(
        "--latest", type=int, default=1, help="how many of the newest versions are served"
    )
    parser.add_argument(
        "--package", type=Path, metavar="FOLDER", help="the exposed side of a model that was cut"
    )
    parser.add_argument("--secret", type=Path, metavar="FOLDER", help="its secret side")
    parser.add_argument(
        "--signer", action="append", metavar="ed25519:…", help="whose package; repeatable"
    )
    parser.add_argument(
        "--require",
        action="append",
        metavar="THRESHOLD",
        help="what its report must show, such as 'decoder.ssim-gain.high<=0.3'; repeatable",
    )
    parser.add_argument(
        "--middle", metavar="ADDRESS", help="where the exposed part runs: tcp:host:port"
    )
    parser.add_argument(
        "--check",
        default="freivalds",
        metavar="WAY",
        help="how its answers are checked: freivalds (default), recompute, recompute:SHARE, or "
        "blinded, which hides inputs from it too",
    )
    parser.add_argument(
        "--top",
        type=int,
        metavar="N",
        help="of --package: let only the N best classes out, with their labels",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="ROWS",
        help="of --package: compute queries that wait together, so many rows at most",
    )
    parser.add_argument(
        "--batch-delay",
        type=float,
        default=0.0,
        metavar="MS",
        help="of --batch: how long the first of them waits for others",
    )


def _add_connections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--identity", type=Path, default=_IDENTITY, help="folder with cert.pem, key.pem and ca.pem"
    )
    parser.add_argument(
        "--listeners",
        type=Path,
        default=_LISTENERS,
        help="the launcher's file with the rule of each passed socket",
    )
    parser.add_argument(
        "--port", type=int, help="listen on 127.0.0.1 instead of a passed socket; needs a rule:"
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--client",
        action="append",
        metavar="SPIFFE-ID",
        help="a client that is accepted; the instance may be *; repeatable",
    )
    who.add_argument(
        "--any-client", metavar="REASON", help="ask for no client certificate, and say why"
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = Limits()
    parser.add_argument("--threads", type=int, default=1, help="threads of one computation")
    parser.add_argument(
        "--computations", type=int, default=1, help="that run at one time, over all models"
    )
    parser.add_argument(
        "--waiting", type=int, default=limits.waiting, help="queries that wait or are computed"
    )
    parser.add_argument("--connections", type=int, default=limits.connections)
    parser.add_argument("--deadline", type=float, default=30.0, metavar="S", help="for an answer")
    parser.add_argument("--metrics", action="store_true", help="serve numbers at /metrics")
    parser.add_argument(
        "--otel", action="store_true", help="tell OpenTelemetry, where it is set up, the same"
    )
    parser.add_argument("--max-request-bytes", type=int, default=limits.body_bytes)
    parser.add_argument("--request-timeout", type=float, default=limits.request_s, metavar="S")
    parser.add_argument("--idle-timeout", type=float, default=limits.idle_s, metavar="S")
    parser.add_argument("--handshake-timeout", type=float, default=limits.handshake_s, metavar="S")
