"""`python -m cloister.cleanroom.server /code/terms.cbor`: a room's parameter server, as a workload.

It is trusted, and measured by the policy that follows from the terms. It listens in the job's
network, where the shield lets trainers of the same policy in and nobody else. Checkpoints and the
model go to one volume, sealed with the room's key; both owners' reports go to theirs. It prints
nothing, and leaves at the schedule's end with status 0, whatever the training came to.

This module is the edge of a process: files, sockets, the clock.

Spec: training-round-v1.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from cloister.cleanroom.agreement import Room, load_room
from cloister.cleanroom.canaries import exposure_tenths
from cloister.cleanroom.checkpoint import Checkpoint, load_checkpoint, replace_file, save_checkpoint
from cloister.cleanroom.coordinator import Coordinator, Measure
from cloister.cleanroom.description import ModelDescription, parameters
from cloister.cleanroom.encoding import Limits, decode
from cloister.cleanroom.exchange_message import LIFE_BYTES
from cloister.cleanroom.exchange_server import ExchangeServer, Job
from cloister.cleanroom.model_file import TrainedModel, save_model
from cloister.cleanroom.report import FILE as REPORT_FILE
from cloister.cleanroom.report import Report
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.room_policy import (
    EXPOSURE,
    KEY_FILE,
    MODEL,
    REPORTS,
    SERVER,
    exposure_name,
)
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.speakers import ShieldedTrainers, Speakers
from cloister.crypto.kdf import random_bytes
from cloister.errors import CloisterError, ConfigError, MalformedError, UnavailableError
from cloister.launcher.passed_desk import Desk, Spend

__all__ = ["Places", "main", "measure_plan", "serve_room"]

_LOG: Final = logging.getLogger("cloister.cleanroom")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a server finds and leaves things.

    Attributes:
        key: The file with the room's key.
        model: The folder for checkpoints and the model.
        reports: The folders that get the report.
        address: The host and port to listen at.
        speakers: Tells whether a trainer may be who it says.
    """

    key: Path
    model: Path
    reports: tuple[Path, ...]
    address: tuple[str, int]
    speakers: Speakers

    @classmethod
    def of(cls, room: Room) -> Places:
        """Return the places that the room's policy gives."""
        return cls(
            key=Path(KEY_FILE),
            model=Path(MODEL),
            reports=tuple(Path(path) for path in REPORTS.values()),
            address=(f"{SERVER}-0", room.terms.training.port),
            speakers=ShieldedTrainers.of(room.agreement),
        )


def main(arguments: Sequence[str]) -> int:
    """Serve one room until its end; return the exit status."""
    parser = argparse.ArgumentParser(prog="cloister.cleanroom.server")
    parser.add_argument("terms", type=Path)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        room = load_room(options.terms)
        with contextlib.ExitStack() as stack:
            spend = None
            if _states_exposure(room):
                desk = Desk.passed(os.environ, process=os.getpid())
                spend = stack.enter_context(desk).spend
            serve_room(room, Places.of(room), spend=spend)
    except CloisterError as e:
        sys.stderr.write(f"cloister.cleanroom.server: {e}\n")
        return e.exit_status
    return 0


def serve_room(room: Room, places: Places, *, spend: Spend | None = None) -> None:
    """Serve a room's parameters from the first trainer to the end, and leave the model.

    Args:
        room: Its signed terms.
        places: Where things are.
        spend: What counts the exposure where the terms have it in the receipt; else None.

    Raises:
        ConfigError: The terms have it there, and nobody counts (`config.missing`).
        CloisterError: The checkpoint is not what was written, nothing can be kept or listened at,
            or the model could not be written.
    """
    if spend is None and _states_exposure(room):
        raise ConfigError("nobody counts the exposure", code="config.missing")
    rules = RoundRules.of(room)
    key = RoomKey.load(places.key, room=room.digest)
    coordinator = Coordinator(
        rules,
        measure=measure_plan(rules, by_recipe=room.terms.training.by == "recipe"),
        life=random_bytes(LIFE_BYTES),
        checkpoint=load_checkpoint(places.model, rules, key),
    )
    release = room.terms.release
    report = Report(rules, digits=release.digits, every_rounds=release.every_rounds)
    try:
        listener = socket.create_server(places.address)
    except OSError as e:
        raise UnavailableError(
            "the server cannot listen", code="server.unreachable", detail=str(e)
        ) from e

    def keep(checkpoint: Checkpoint) -> None:
        save_checkpoint(places.model, checkpoint, rules, key)

    with listener:
        ExchangeServer(
            listener,
            coordinator,
            rules,
            speakers=places.speakers,
            keep=keep,
            job=partial(_report_job, report, places),
        ).serve()
    _write_report(report, places, coordinator, rules.schedule.rounds)()
    if spend is not None:
        _state_exposure(room, coordinator, spend)
    pulled = coordinator.pull()
    model = TrainedModel(
        plan=coordinator.plan or b"",
        parameters=np.zeros(0, np.float32) if pulled is None else pulled[1],
        version=coordinator.version,
        outcome=coordinator.outcome(),
    )
    save_model(places.model, model, rules, key)


def measure_plan(rules: RoundRules, *, by_recipe: bool) -> Measure:
    """Return what reads a plan and counts its model's parameters.

    Args:
        rules: Of the room.
        by_recipe: Whether recipes train by themselves, and the plan describes no model.
    """

    def measure(plan: bytes) -> int | None:
        message = decode(plan, Limits(message_bytes=rules.plan_max_bytes))
        if message.kind != "plan" or set(message.fields) != (set() if by_recipe else {"model"}):
            raise MalformedError("this is no plan", code="message.malformed")
        if by_recipe:
            return None
        return parameters(ModelDescription.from_fields(message.fields["model"]))

    return measure


def _states_exposure(room: Room) -> bool:
    return room.terms.release.receipt == "exposure"


def _state_exposure(room: Room, coordinator: Coordinator, spend: Spend) -> None:
    """Spend the exposure, which puts it into this run's receipt: once, measured or not.

    Where it is not counted, the receipt says nothing, and the model is kept all the same.
    """
    tenths = exposure_tenths(coordinator.metric("exposure"))
    try:
        spend(EXPOSURE, exposure_name(room.digest), tenths)
    except CloisterError as e:
        _LOG.debug("the exposure is not in the receipt: %s", e.code)


def _report_job(report: Report, places: Places, coordinator: Coordinator) -> Job | None:
    """Make the report's entry where one is due, and return what writes it."""
    closed = report.due(coordinator.tick)
    return None if closed is None else _write_report(report, places, coordinator, closed)


def _write_report(report: Report, places: Places, coordinator: Coordinator, closed: int) -> Job:
    report.add(closed, {name: coordinator.metric(name) for name in report.rules.metrics})
    data = report.to_bytes()

    def write() -> None:
        for folder in places.reports:
            replace_file(folder / REPORT_FILE, data)

    return write


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
