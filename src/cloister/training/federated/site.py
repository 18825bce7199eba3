"""`python -m cloister.training.federated.site`: one site of a federation, as a workload.

Runs Flower's SuperNode and, for each question of the link, the app's ClientApp, until the link
says that the run is over. Nothing but the app in this workload's own measured code is run, with
this command's own settings. This module is the edge of a process: it reads arguments and the
clock.

Spec: federation-v1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cloister.errors import (
    AppraisalError,
    CloisterError,
    ConfigError,
    UnavailableError,
    WorkloadError,
)
from cloister.training.federated.app import parse_settings
from cloister.training.federated.engine import require_engine, surroundings
from cloister.training.federated.listening import instance_here, parse_address
from cloister.training.federated.logs import log_to_stdout
from cloister.training.federated.programs import start_program
from cloister.training.federated.progress import Terms

__all__ = ["conclude", "main"]

_PATIENCE_S: Final = 10.0
_LOG: Final = logging.getLogger("cloister.federated")


def main(arguments: Sequence[str]) -> int:
    """Take part to the end; return the exit status."""
    options = _parse(arguments)
    log_to_stdout()
    home = Path(tempfile.mkdtemp(prefix="site-"))
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(options, home)
    except CloisterError as e:
        sys.stderr.write(f"cloister.training.federated.site: {e}\n")
        if isinstance(e, AppraisalError):
            sys.stderr.write(f"  {e.rule}: expected {e.expected}, found {e.found}\n")
        if e.hint:
            sys.stderr.write(f"  {e.hint}\n")
        return e.exit_status
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0


def _run(options: argparse.Namespace, home: Path) -> None:
    require_engine()
    terms = Terms(sites=options.sites, minimum=1, wait=options.wait, deadline=options.deadline)
    host, port = parse_address(options.link)
    index = instance_here(options.role) if options.index is None else options.index
    if not 0 <= index < terms.sites:
        raise ConfigError(
            f"instance {index} is not one of {terms.sites} sites", code="config.value"
        )
    settings = parse_settings(options.set)
    node = parse_settings(options.node) | {"partition-id": index, "num-partitions": terms.sites}
    environment = surroundings(os.environ, home, logs="WARNING")
    os.environ.clear()
    os.environ.update(environment)
    _LOG.info("site %d of %d, for the link at %s:%d", index, terms.sites, host, port)
    (home / "work").mkdir()
    job = {
        "home": str(home),
        "app": str(options.app.resolve()),
        "settings": settings,
        "link": f"{host}:{port}",
        "node": node,
        "index": index,
        "wait": terms.wait,
    }
    process = start_program("node", json.dumps(job), folder=home / "work", environment=environment)
    try:
        process.wait(terms.deadline)
    except subprocess.TimeoutExpired as e:
        raise UnavailableError(
            f"the run was not over within {terms.deadline:g} s", code="federated.deadline"
        ) from e
    finally:
        _end(process)
    conclude(_ending(home / "ending.json"))
    _LOG.info("the run is complete")


def conclude(ending: Mapping[str, Any]) -> None:
    """Raise what the SuperNode's end means, unless the link said that the run is complete.

    Raises:
        ConfigError: `federated.app`: this workload's own code is no app, or has no such setting.
        AppraisalError: `federated.other-app`: the link wanted something else run.
        UnavailableError: `federated.link`: it did not answer, or was lost.
        WorkloadError: `federated.run`: the link said that it failed, or the SuperNode ended
            without a word.

    Spec: FED-18.
    """
    kind = ending.get("ended")
    if kind == "completed":
        return
    if kind == "failed":
        raise WorkloadError(
            "the link says that the run failed", code="federated.run", hint="look at its log"
        )
    if kind == "refused":
        raise AppraisalError(
            str(ending["message"]),
            code="federated.other-app",
            rule=str(ending["rule"]),
            expected=str(ending["expected"]),
            found=str(ending["found"]),
            hint=str(ending["hint"]),
        )
    if kind == "no-app":
        raise ConfigError(
            str(ending["message"]), code="federated.app", hint=str(ending["hint"]) or None
        )
    if kind == "lost":
        raise UnavailableError(
            "the link did not answer in time, or is gone",
            code="federated.link",
            hint="look at the link's log; what this site sent may be part of its result",
        )
    raise WorkloadError("the SuperNode ended without a word", code="federated.run")


def _ending(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _interrupt(_number: int, _frame: object) -> None:
    raise WorkloadError("the site was told to end", code="federated.run")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cloister.training.federated.site", description="One site of a federation (Flower)."
    )
    parser.add_argument("--app", type=Path, default=Path("/code"), help="the Flower app's folder")
    parser.add_argument("--link", default="link-0:9092", help="where the link listens")
    parser.add_argument("--sites", type=int, required=True, help="how many there are to be")
    parser.add_argument("--role", default="site", help="the workload's name, to find the instance")
    parser.add_argument("--index", type=int, help="which instance, where no network says it")
    parser.add_argument("--wait", type=float, default=300, help="seconds without the link")
    parser.add_argument("--deadline", type=float, default=86400, help="seconds for everything")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, as at the link")
    parser.add_argument("--node", action="append", default=[], help="KEY=VALUE of the node config")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
