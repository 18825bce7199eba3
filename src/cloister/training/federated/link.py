"""`python -m cloister.training.federated.link`: the link of a federation, as a workload.

Starts Flower's SuperLink, waits for the sites, runs the app's ServerApp once, and leaves what it
wrote as one folder. This module is the edge of a process: it reads arguments and the clock.

Spec: federation-v1.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.errors import CloisterError, WorkloadError
from cloister.training.federated.app import App, parse_settings, read_app
from cloister.training.federated.engine import require_engine, surroundings
from cloister.training.federated.listening import open_plain, parse_address
from cloister.training.federated.logs import log_to_stdout
from cloister.training.federated.progress import Terms, require_enough, working
from cloister.training.federated.result import (
    Record,
    prepare_result,
    publish_result,
    withdraw_result,
)

if TYPE_CHECKING:
    from cloister.training.federated.superlink import SuperLink

__all__ = ["main"]

_STEP_S: Final = 0.5
_PARTING_S: Final = 20.0
_MIB: Final = 1_048_576
_LOG: Final = logging.getLogger("cloister.federated")


def main(arguments: Sequence[str]) -> int:
    """Run a federation to its end; return the exit status."""
    options = _parse(arguments)
    log_to_stdout()
    home = Path(tempfile.mkdtemp(prefix="link-"))
    # SIGTERM unwinds like the end of the run: processes are stopped, the unfinished is deleted.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options, home)
    except CloisterError as e:
        sys.stderr.write(f"cloister.training.federated.link: {e}\n")
        if e.hint:
            sys.stderr.write(f"  {e.hint}\n")
        return e.exit_status
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(options: argparse.Namespace, home: Path) -> int:
    require_engine()
    terms = Terms(
        sites=options.sites,
        minimum=options.sites if options.minimum is None else options.minimum,
        wait=options.wait,
        deadline=options.deadline,
    )
    settings = parse_settings(options.set)
    host, port = parse_address(options.listen)
    environment = surroundings(os.environ, home, logs="WARNING")
    os.environ.clear()
    os.environ.update(environment)
    app = read_app(options.app, settings)
    with open_plain(host, port) as outer:
        work = prepare_result(options.result)
        # Loads Flower, which reads its surroundings when it is loaded.
        from cloister.training.federated.superlink import SuperLink  # noqa: PLC0415

        _LOG.info("app %s %s %s, listening at %s:%s", app.name, app.version, app.digest[:16],
                  *outer.getsockname()[:2])  # fmt: skip
        link = SuperLink(outer, sites=terms.sites, most=options.largest * _MIB)
        try:
            record = _federate(link, app, terms, home=home, work=work)
            publish_result(options.result, record)
            link.tell("completed")
            _LOG.info("result in %s", options.result)
            _part(link)
        except CloisterError as e:
            _LOG.info("the run failed: %s", e)
            link.tell("failed")
            _part(link)
            raise
        finally:
            link.stop()
            withdraw_result(options.result)
    return 0


def _federate(link: SuperLink, app: App, terms: Terms, *, home: Path, work: Path) -> Record:
    from cloister.training.federated.tasks import Tasks  # noqa: PLC0415  # loads Flower

    begin = time.monotonic()
    started_with = _await_sites(link, terms)
    run = link.start_run(app)
    link.tell("running")
    started = time.monotonic()
    _LOG.info("training begins with %d of %d sites", len(started_with), terms.sites)
    tasks = Tasks(
        link.address,
        "flwr-serverapp",
        home=home,
        folder=work,
        environment=surroundings(os.environ, home, logs="INFO"),
    )
    try:
        ended_with = _await_end(link, run, terms, begin=begin)
    except CloisterError:
        link.stop_run(run)
        raise
    finally:
        tasks.stop()
    seconds = round(time.monotonic() - started, 3)
    _LOG.info("training is complete: sites %s, %.1f s", _list(ended_with), seconds)
    return Record(
        app=app.name,
        version=app.version,
        digest=app.digest,
        settings=app.settings,
        expected=terms.sites,
        minimum=terms.minimum,
        started_with=started_with,
        ended_with=ended_with,
        failures=sum(link.failed().values()),
        seconds=seconds,
    )


def _await_sites(link: SuperLink, terms: Terms) -> tuple[int, ...]:
    begin = time.monotonic()
    shown: tuple[int, ...] | None = None
    while True:
        sites, nodes = link.sites(), link.nodes()
        if sites != shown:
            _LOG.info("sites here: %s of %d", _list(sites), terms.sites)
            shown = sites
        # A site is here when both its SuperNode and its question have come.
        here = max(len(nodes), len(sites)) if len(nodes) > terms.sites else len(sites)
        if terms.may_start(min(here, len(nodes)), waited=time.monotonic() - begin):
            return sites
        time.sleep(_STEP_S)


def _await_end(link: SuperLink, run: int, terms: Terms, *, begin: float) -> tuple[int, ...]:
    shown: tuple[int, ...] | None = None
    while True:
        sites = link.sites()
        if sites != shown:
            _LOG.info("sites here: %s of %d", _list(sites), terms.sites)
            shown = sites
        count = working(link.nodes(), link.failed().keys())
        require_enough(terms, count, elapsed=time.monotonic() - begin)
        state = link.run_state(run)
        if state.completed:
            return sites
        if state.over:
            raise WorkloadError(
                "the ServerApp did not complete",
                code="federated.run",
                detail=state.details,
                hint=state.details[:500] or None,
            )
        time.sleep(_STEP_S)


def _part(link: SuperLink) -> None:
    """Let the sites see how the run ended before the link is gone."""
    begin = time.monotonic()
    while link.nodes() and time.monotonic() - begin < _PARTING_S:
        time.sleep(_STEP_S)


def _list(sites: Sequence[int]) -> str:
    return ", ".join(map(str, sites)) or "none"


def _interrupt(_number: int, _frame: object) -> None:
    if threading.current_thread() is threading.main_thread():
        raise WorkloadError("the link was told to end", code="federated.run")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cloister.training.federated.link", description="The link of a federation (Flower)."
    )
    parser.add_argument("--app", type=Path, default=Path("/code"), help="the Flower app's folder")
    parser.add_argument("--listen", default="0.0.0.0:9092", help="where sites connect")
    parser.add_argument("--sites", type=int, required=True, help="how many there are to be")
    parser.add_argument("--minimum", type=int, help="how many will do (default: all)")
    parser.add_argument("--wait", type=float, default=300, help="seconds to wait for all")
    parser.add_argument("--deadline", type=float, default=86400, help="seconds for everything")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the app's config")
    parser.add_argument("--result", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--largest", type=int, default=64, help="MiB of one request of a site")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
