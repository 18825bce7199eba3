"""`cloister model assess`: what every cut of a model leaks, by attacks that are run."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console
from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.partition.assess.run import Assessment
    from cloister.partition.assess.sample import Sample
    from cloister.partition.report import LeakageReport

__all__ = ["command"]

_STATE: Final = ".state"
_SHOWN: Final = 8
_PER_MILLE: Final = 1000


def command(  # noqa: PLR0917  # options: typer passes them by name
    model: Path = typer.Argument(
        help="The model: .keras, .h5, .onnx or .tflite, read as data; or see --trusted."
    ),
    sample: Path = typer.Option(
        help="Images as the model takes them, .npz: images, and labels where they are known."
    ),
    out: Path = typer.Option(help="The report, .json: what cloister model cut asks for."),
    page: Path | None = typer.Option(None, help="The same to look at, one .html file."),
    proxy: Path | None = typer.Option(
        None, help="Images like them that are public, .npz (default: a part of the sample)."
    ),
    trained: Path | None = typer.Option(
        None, help="Images that the model was trained with, .npz: whether that can be told."
    ),
    seconds: int = typer.Option(600, min=1, help="Time for all of it."),
    steps: int = typer.Option(600, min=1, help="Steps of each attack that trains."),
    cuts: str = typer.Option("", help="Positions, such as 3,5,8-12 (default: every one)."),
    backs: str = typer.Option("", help="Positions where the exposed part may end."),
    ends: str = typer.Option("", help="The model's black and white, such as 0:1 or -1:1."),
    seed: int = typer.Option(1, min=0, help="Of every random choice."),
    resume: bool = typer.Option(False, help="Go on from what an earlier run finished."),
    name: str = typer.Option("", help="What people call the model (default: the file's name)."),
    trusted: bool = typer.Option(
        False,
        "--trusted",
        help="For .pt2 files and SavedModels, whose frameworks load them: their maker may run "
        "code here.",
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Attack what would cross at each cut of a model, and say which cut is safe.

    Nothing leaves this machine. Ctrl-C ends it with a report of what is finished; --resume goes on,
    and with more --seconds tries again what had too few.
    """
    console.hush_frameworks()
    from cloister.keyservice.clock import read_clock
    from cloister.partition.assess.networks import Network
    from cloister.partition.assess.run import Assessment, Wanted
    from cloister.partition.assess.sample import split
    from cloister.partition.importing import open_model

    wanted = Wanted(
        name=name or model.name,
        seconds=seconds,
        steps=steps,
        seed=seed,
        cuts=_positions(cuts),
        backs=_positions(backs),
    )
    scale = _ends(ends)
    own = _read(sample)
    with console.Heartbeat(quiet=as_json) as beat:
        beat(0, "reading the model")
        network = Network(open_model(model, trusted=trusted))
        material = split(
            own,
            None if proxy is None else _read(proxy),
            None if trained is None else _read(trained),
            image=network.image,
            classes=network.classes,
            ends=scale,
            seed=seed,
        )
        assessment = Assessment(
            network, material, wanted, at=read_clock().at, device=_device(network.differentiable)
        )
        doubts = assessment.doubts
    state = out.with_name(out.name + _STATE)
    if resume:
        _go_on(assessment, state)
    for doubt in doubts:
        console.warn(console.printable(doubt))
    stopped = _run(assessment, state, quiet=as_json)
    report = assessment.report()
    _write(assessment, report, out, page)
    if report.budget.complete and not assessment.short:
        state.unlink(missing_ok=True)
    if as_json:
        console.emit(_record(report, out, page, short=assessment.short, stopped=stopped))
        return
    _show(report, out, page, assessment)
    if stopped or not report.budget.complete:
        console.warn("not everything was run; --resume goes on where this ended")
    elif assessment.short:
        names = ", ".join(assessment.short[:_SHOWN])
        more = "" if len(assessment.short) <= _SHOWN else ", ..."
        console.warn(
            f"not brought to an end: {names}{more}; where time was short, --resume with more "
            "--seconds tries that again, and keeps the rest"
        )


def _run(assessment: Assessment, state: Path, *, quiet: bool) -> bool:
    """Run within the budget and keep what is finished; return whether a person stopped it."""
    with (
        console.progress("assessing", quiet=quiet) as step,
        console.Heartbeat(quiet=quiet) as beat,
    ):

        def hear(done: float, what: str) -> None:
            step(round(_PER_MILLE * done), _PER_MILLE)
            beat(done, what)

        try:
            assessment.run(hear, lambda: _replace(state, assessment.state()))
        except KeyboardInterrupt:
            console.note("stopped; what is finished is kept")
            return True
    return False


def _go_on(assessment: Assessment, state: Path) -> None:
    from cloister.partition.assess.state import MAX_STATE_BYTES

    try:
        with state.open("rb") as file:
            data = file.read(MAX_STATE_BYTES + 1)
    except FileNotFoundError:
        console.note(f"nothing to go on from: {state} is not there")
        return
    except OSError as e:
        raise ConfigError(f"cannot read {state}: {e.strerror}", code="config.file") from e
    if assessment.resume(data):
        console.note(f"going on: {len(assessment.finished.cuts)} cuts are finished")
    else:
        console.note(
            "starting anew: what is there was of another model, sample or seed, or had more time"
        )


def _read(file: Path) -> Sample:
    from cloister.partition.assess.sample import MAX_SAMPLE_BYTES, read_sample

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_SAMPLE_BYTES + 1)
    except OSError as e:
        raise ConfigError(
            f"cannot read {file}: {e.strerror}",
            code="config.file",
            hint="numpy.savez(file, images=…, labels=…) writes one",
        ) from e
    try:
        return replace(read_sample(data), name=console.printable(file))
    except MalformedError as e:
        raise MalformedError(
            f"{file}: {e.public}",
            code=e.code,
            detail=e.detail,
            hint="numpy.savez(file, images=…, labels=…) writes one",
        ) from e


def _write(assessment: Assessment, report: LeakageReport, out: Path, page: Path | None) -> None:
    from cloister.partition.assess.page import page as page_of
    from cloister.partition.report import write_report

    _replace(out, write_report(report))
    if page is not None:
        finished = assessment.finished
        made = page_of(
            report,
            finished.pictures,
            finished.remarks,
            finished.skipped,
            stopped=assessment.stopped,
        )
        _replace(page, made)


def _replace(file: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    draft = file.with_name(f".{file.name}.{hashlib.sha256(os.urandom(16)).hexdigest()[:8]}")
    try:
        try:
            with draft.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as e:
        raise ConfigError(f"cannot write {file}: {e.strerror}", code="config.file") from e


def _positions(text: str) -> tuple[int, ...]:
    """Read positions and ranges of them, ends included."""
    found: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(each.isascii() and each.isdigit() and len(each) < 6 for each in ends):  # noqa: PLR2004  # digits
            raise ConfigError(
                f"{text[:80]!r} are no positions", code="config.value", hint="such as 3,5,8-12"
            )
        found += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(sorted(set(found)))


def _ends(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    low, _, high = text.partition(":")
    try:
        found = float(low), float(high)
    except ValueError as e:
        raise ConfigError(
            f"{text[:40]!r} is no scale", code="config.value", hint="such as 0:1 or -1:1"
        ) from e
    if not abs(found[0]) + abs(found[1]) < 1e6 or found[0] >= found[1]:  # noqa: PLR2004  # also NaN
        raise ConfigError("white must lie above black", code="config.value")
    return found


def _device(differentiable: bool) -> str:
    """Say what computes: a GPU is used by the framework when it sees one."""
    if not differentiable:
        return "the CPU, in the format's own runtime; attackers' networks on the CPU or its GPU"
    from cloister.partition.assess.frameworks import frameworks

    tf = frameworks().tf
    named = [
        tf.config.experimental.get_device_details(each).get("device_name", "a GPU")
        for each in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join(map(str, named)) if named else "the CPU; TensorFlow sees no GPU"


def _record(
    report: LeakageReport, out: Path, page: Path | None, *, short: tuple[str, ...], stopped: bool
) -> dict[str, object]:
    from cloister.partition.assess.order import default_objection, little_saved

    return {
        "report": str(out),
        "page": None if page is None else str(page),
        "recommended": report.recommended,
        "default_thresholds": default_objection(report),
        "little_saved": little_saved(report),
        "complete": report.budget.complete,
        "stopped": stopped,
        "cut_short": list(short),
        "cuts": [
            {"position": c.position, "verdict": c.verdict, "because": c.because}
            for c in report.cuts
        ],
        "notes": list(report.notes),
    }


def _show(report: LeakageReport, out: Path, page: Path | None, assessment: Assessment) -> None:
    from cloister.partition.assess.order import default_objection, little_saved
    from cloister.partition.assess.page_curves import strongest

    rows = []
    for cut in report.cuts:
        got = strongest(cut)
        rows.append(
            (
                str(cut.position),
                console.printable(", ".join(cut.tensors[:3])),
                f"{cut.values:,}",
                f"{cut.front_ms:.3g} of {cut.whole_ms:.3g}",
                "" if got is None else f"{got[0]:.2f} {got[1]}",
                cut.verdict,
            )
        )
    heads = ("cut", "what crosses", "numbers", "ms", "strongest attack", "verdict")
    console.table(console.printable(report.model.name), heads, rows)
    if report.recommended is None and not report.budget.complete:
        console.lines("recommended  none yet: not everything was run")
    elif report.recommended is None:
        console.lines("recommended  none: serve the whole model in the enclave")
    else:
        chosen = report.cut(report.recommended)
        because = "" if chosen is None else chosen.because
        console.lines(f"recommended  {report.recommended}. {console.printable(because)}")
        saved = little_saved(report)
        if saved is not None:
            console.lines(f"             {saved}")
        refused = default_objection(report)
        if refused is not None:
            console.lines(
                "             The default thresholds refuse it: state your own with --require, or "
                f"serve the whole model. {console.printable(refused)}"
            )
    if skipped := assessment.finished.skipped:
        places = ", ".join(name.removeprefix("cut/") for name in skipped)
        why = console.printable(next(iter(skipped.values())))
        console.lines(f"left out     {places}: no place to cut ({why})")
    for note in report.notes[: 2 + len(assessment.doubts)]:
        console.lines(f"note         {console.printable(note)}")
    console.lines(f"report       {out}")
    if page is not None:
        console.lines(f"page         {page}")
