"""`cloister query`: ask a protected model, after it has proved what it is."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cloister.cli import asker, console, settings
from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloister.inference.client import ModelClient
    from cloister.inference.tensor import TensorSpec

__all__ = ["command", "read_array", "typed"]

_MAX_INPUT_BYTES: Final = 1 << 30
_SHOWN_ROWS: Final = 20


def command(  # noqa: PLR0917  # options: typer passes them by name
    url: str = typer.Argument(help="https://HOST:PORT."),
    file: Path = typer.Argument(
        help="The input: .npy, or .npz by input; or .json with nested lists, or an object of them."
    ),
    identity: str = typer.Option(help="SPIFFE ID that the server must prove; may end in /*."),
    model: str | None = typer.Option(None, help="The model, where the server has several."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the answer as .npy."),
    private: bool = typer.Option(
        False, help="Ask in an envelope, by way of anybody; needs a policy and who asks."
    ),
    policy: str = asker.POLICY,
    any_policy: str = asker.ANY_POLICY,
    principal: str = asker.PRINCIPAL,
    key: Path | None = asker.KEY,
    certificate: Path | None = asker.CERTIFICATE,
    private_key: Path | None = asker.PRIVATE_KEY,
    trust: Path | None = asker.TRUST,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object; NaN and infinities are texts."
    ),
) -> None:
    """Verify the server, send the input encrypted to it, and print its answer."""
    import numpy as np  # commands load what they use

    from cloister.inference import Client
    from cloister.inference.private import PrivateClient

    pinned = trust or settings.find_domain(domain).directory / "domain.json"
    said = _read_json(file) if file.suffix == ".json" else read_array(file)
    client: ModelClient
    if private:
        client = PrivateClient(
            url,
            trust=pinned,
            identity=identity,
            policy=asker.pinned_policy(policy, any_policy),
            asker=asker.who_asks(principal, key, certificate, private_key),
            model=model,
        )
    elif policy or any_policy or principal or key or certificate or private_key:
        raise ConfigError(
            "a policy, and who asks, are for queries with --private", code="config.value"
        )
    else:
        client = Client(url, trust=pinned, identity=identity, model=model)
    with client:
        inputs = typed(said, client.describe().inputs) if file.suffix == ".json" else said
        answer = client.predict(inputs)
        peer = client.peer
    named = answer if isinstance(answer, dict) else {"output": answer}
    if output is not None:
        if len(named) != 1:
            raise ConfigError("the model has several outputs", code="config.value")
        (values,) = named.values()
        if values.dtype == object:
            raise ConfigError(
                "the model answers with texts, and .npy holds numbers",
                code="config.value",
                hint="leave --output out, or take --json",
            )
        np.save(output, values)
    if as_json:
        console.emit(
            {
                "outputs": {name: _sayable(values.tolist()) for name, values in named.items()},
                "peer": peer.identity.uri,
                "policy": "sha256:" + peer.policy_hash.hex(),
                "hardware_rooted": peer.hardware_rooted,
            }
        )
        return
    for name, values in named.items():
        console.lines(f"{name} {values.dtype}{list(values.shape)}")
        shown = values[:_SHOWN_ROWS] if values.ndim else values
        console.lines(np.array2string(shown, precision=4, suppress_small=True))
    rooted = "rooted in hardware" if peer.hardware_rooted else "SIMULATED: no hardware"
    console.note(f"answered by {peer.identity.uri} ({rooted})")


def read_array(file: Path) -> Any:
    """Read numbers that somebody wants to ask about.

    Raises:
        ConfigError: There are none (`config.file`), or too many (`config.value`).
    """
    import numpy as np

    from cloister.partition.assess.archive import read_array as read_one

    _require_moderate(file)
    try:
        if file.suffix == ".json":
            return np.asarray(_read_json(file))
        if file.suffix == ".npz":
            return _read_named(file)
        with file.open("rb") as opened:
            found = read_one(opened, os.fstat(opened.fileno()).st_size)
    except (OSError, ValueError) as e:
        raise _no_numbers(file) from e
    if found is None:
        raise _no_numbers(file)
    return found


def _read_named(file: Path) -> dict[str, Any]:
    """Return the arrays of numbers of an .npz file, which have 1 GiB together at most."""
    from cloister.partition.assess.archive import read_arrays

    try:
        return read_arrays(file.read_bytes(), most=_MAX_INPUT_BYTES)
    except MalformedError as e:
        if e.code == "wire.too-large":
            raise ConfigError(
                f"{file} unpacks to what is larger than 1 GiB", code="config.value"
            ) from e
        raise _no_numbers(file) from e


def typed(said: Any, inputs: Sequence[TensorSpec]) -> Any:
    """Return what a JSON file says as arrays of the types that a model takes.

    Args:
        said: Nested lists for a model with one input, or an object of them by name.
        inputs: What the model takes.

    Raises:
        ConfigError: `config.value`: another name, or something that is no number of that type.
    """
    names = ", ".join(spec.name for spec in inputs)
    if isinstance(said, dict):
        if said.keys() != {spec.name for spec in inputs}:
            raise ConfigError(f"the model takes {names}", code="config.value")
        return {spec.name: _of_type(said[spec.name], spec) for spec in inputs}
    if len(inputs) != 1:
        raise ConfigError(
            f"the model takes arrays by name: {names}",
            code="config.value",
            hint="write an object of nested lists, one for each name",
        )
    return _of_type(said, inputs[0])


def _of_type(said: Any, spec: TensorSpec) -> Any:
    import numpy as np

    from cloister.inference.tensor import from_numbers

    try:
        nested = np.asarray(said, dtype=object)
        return from_numbers(nested.ravel().tolist(), spec).reshape(nested.shape)
    except (MalformedError, ValueError) as e:
        reason = e.public if isinstance(e, MalformedError) else "lists of different lengths"
        raise ConfigError(
            f"input {spec.name} cannot be read as {spec.datatype}: {reason}", code="config.value"
        ) from e


def _read_json(file: Path) -> Any:
    _require_moderate(file)
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise _no_numbers(file) from e


def _require_moderate(file: Path) -> None:
    try:
        size = file.stat().st_size
    except OSError as e:
        raise ConfigError(f"{file} cannot be read: {e.strerror}", code="config.file") from e
    if size > _MAX_INPUT_BYTES:
        raise ConfigError(f"{file} is larger than 1 GiB", code="config.value")


def _no_numbers(file: Path) -> ConfigError:
    return ConfigError(
        f"{file} is not an array of numbers",
        code="config.file",
        hint="write one with numpy.save, or as JSON lists",
    )


def _sayable(values: Any) -> Any:
    """Return nested lists in which texts stand for what is no number in JSON."""
    if isinstance(values, list):
        return [_sayable(each) for each in values]
    if isinstance(values, float) and not math.isfinite(values):
        return "NaN" if math.isnan(values) else "Infinity" if values > 0 else "-Infinity"
    return values
