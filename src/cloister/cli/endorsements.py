"""`cloister endorsements`: what vouches for evidence, fetched, looked at, checked and imported."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cloister.cli import collecting, console
from cloister.errors import CloisterError, ConfigError, MalformedError, UnavailableError

if TYPE_CHECKING:
    from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
    from cloister.endorsing.asking import Asking
    from cloister.endorsing.contents import Contents
    from cloister.endorsing.questions import Answer, Question
    from cloister.endorsing.wishes import Wish

__all__ = ["app"]

app = typer.Typer(help="Fetch, show and check what vouches for evidence.", no_args_is_help=True)

_MAX_AUTHORITIES: Final = 1 << 20
_PATIENCE_S: Final = 120.0
_SLOW_S: Final = 2.0
# What lies beside evidence and no manufacturer gives out: chains of GPUs, and hosts' certificates.
_BESIDE: Final = {
    "nvidia": "application/pem-certificate-chain",
    "snp": "application/pkix-cert",
    "azure-snp": "application/pkix-cert",
}
_JSON = typer.Option(False, "--json", help="One JSON object.")
_BUNDLE = typer.Argument(metavar="BUNDLE", help="A bundle of endorsements.")
_OUT = typer.Option(..., "--out", "-o", help="The bundle to write.")
_REPLACE = typer.Option(False, "--replace", help="Put the new bundle in an older one's place.")
_SIGNER = typer.Option(
    None, "--key", help="The collector's key that signs (default: your own, made at first use)."
)
_COLLECTOR = typer.Option(
    [], help="Whose bundles are taken, ed25519:…; default: your own collector's."
)


@app.command()
def fetch(  # noqa: PLR0917  # options: typer passes them by name
    evidence: list[Path] = typer.Argument(
        None, metavar="[EVIDENCE]…", help="Raw files, or folders: they say what to ask for."
    ),
    kind: str = typer.Option(help="sgx, tdx, snp, azure-snp, azure-tdx or nvidia."),
    out: Path = _OUT,
    product: str = typer.Option("", help="For snp: Milan, Genoa or Turin, if a report is silent."),
    fmspc: str = typer.Option("", help="For sgx and tdx, without evidence: the model, 12 digits."),
    ca: str = typer.Option("platform", help="With --fmspc: who certified it, platform, processor."),
    rim: list[str] = typer.Option([], help="For nvidia, without evidence: a manifest's name."),
    endorsements: list[Path] = typer.Option(
        [], help="What you have already and the bundle shall hold: a file, folder or bundle."
    ),
    source: list[str] = typer.Option(
        [],
        envvar="CLOISTER_SOURCES",
        help="Another address, NAME=https://…; a wrong name lists the names.",
    ),
    authority: Path | None = typer.Option(
        None,
        envvar="CLOISTER_SOURCES_AUTHORITY",
        help="PEM of the only authorities that certify sources (default: this machine's).",
    ),
    cache: Path | None = typer.Option(
        None, envvar="CLOISTER_CACHE", help="Where answers are kept while they count."
    ),
    key: Path | None = _SIGNER,
    collector: list[str] = _COLLECTOR,
    offline: bool = typer.Option(False, "--offline", help="Ask nobody: the cache has it, or not."),
    anew: bool = typer.Option(False, "--anew", help="Ask even where the cache has what counts."),
    patience: float = typer.Option(_PATIENCE_S, min=1, max=3600, help="Seconds for a question."),
    replace: bool = _REPLACE,
    as_json: bool = _JSON,
) -> None:
    """Fetch what vouches for evidence from its manufacturer, into one signed bundle.

    75 says that a source is away, busy, or has nothing that counts now; what was fetched until
    then is in the cache. 72 says that it does not have what was asked for.
    """
    from cloister.cli.evidence_files import read_collected
    from cloister.endorsing.wishes import collect
    from cloister.keyservice.clock import read_clock

    _refuse_existing(out, replace=replace)
    at = read_clock().at
    had = read_collected(endorsements, collectors=_accepted(endorsements, collector), at=at)
    evidence = evidence or []
    wishes, beside = _wishes(evidence, kind, product=product, had=had, at=at)
    wishes += _named_wishes(kind, product, fmspc=fmspc, ca=ca, rim=rim, evidence=bool(evidence))
    asking = _asking(
        source, authority, cache, offline=offline, anew=anew, patience_s=patience, quiet=as_json
    )
    ask = asking.answer if as_json else _told(asking.answer)
    items = [*had, *beside, *collect(wishes, ask)]
    _note_what_lacks(wishes, items)
    _write(items, out, key, replace=replace, as_json=as_json)


@app.command()
def show(bundle: Path = _BUNDLE, as_json: bool = _JSON) -> None:
    """Show what is in a bundle, whoever signed it; nothing of it is judged."""
    from cloister.attestation.endorsement_bundle import EndorsementBundle
    from cloister.tee.endorsement_files import read_bundle_bytes

    data = read_bundle_bytes(bundle)
    found = EndorsementBundle.open(data, collectors=[EndorsementBundle.claimed_collector(data)])
    own = found.collector in collecting.accepted([])
    items = [_record(item, *_described(item)) for item in found.items]
    if as_json:
        console.emit(
            {"judged": False, "collector": found.collector.text, "own": own, "items": items}
        )
        return
    console.note("not judged: endorsers' signatures are checked where evidence is")
    console.lines(f"collector: {found.collector.text} ({'your own' if own else 'not your own'})")
    columns = ("what", "about", "from", "until", "collected", "source")
    shown = [each | {"source": _hosts(str(each["source"]))} for each in items]
    rows = [tuple(console.printable(each[name] or "") for name in columns) for each in shown]
    console.table(str(bundle), columns, rows)


@app.command()
def check(
    bundle: Path = _BUNDLE,
    at: str = typer.Option("", help="The instant, 2026-01-31T12:00:00Z; default: now."),
    collector: list[str] = _COLLECTOR,
    as_json: bool = _JSON,
) -> None:
    """Check that a bundle is an accepted collector's, whole, and counts at an instant.

    0: everything counts. 75: something does not count then. 71: something cannot be read. 77: the
    signature does not hold, or is a collector's that was not named.
    """
    from cloister.cli.evidence import instant_of

    instant = instant_of(at)
    found = _open(bundle, collector)
    records, stale, unreadable = [], 0, 0
    for item in found.items:
        contents, problem = _described(item)
        window = None if contents is None else contents.window
        counts = contents is not None and (window is None or window.holds(instant))
        stale += contents is not None and not counts
        unreadable += contents is None
        parts = [] if contents is None else contents.parts
        wrong = [part.name for part in parts if not part.window.holds(instant)]
        state = "unreadable" if contents is None else "counts" if counts else "stale"
        records.append(_record(item, contents, problem) | {"state": state, "out_of_time": wrong})
    if as_json:
        console.emit({"at": _text(instant), "collector": found.collector.text, "items": records})
    else:
        columns = ("state", "what", "about", "from", "until")
        rows = [tuple(console.printable(each[name] or "") for name in columns) for each in records]
        console.table(f"{bundle} at {_text(instant)}", columns, rows)
        for each in records:
            if each["out_of_time"]:
                console.note(f"{each['about']}: does not count then: {_listed(each)}")
    if unreadable:
        raise typer.Exit(MalformedError.exit_status)
    if stale:
        raise typer.Exit(UnavailableError.exit_status)


@app.command("import")
def import_(  # noqa: PLR0917  # options: typer passes them by name
    paths: list[Path] = typer.Argument(
        metavar="PATH…", help="Files, folders or bundles: PEM, DER, collateral, manifests."
    ),
    out: Path = _OUT,
    key: Path | None = _SIGNER,
    collector: list[str] = _COLLECTOR,
    replace: bool = _REPLACE,
    as_json: bool = _JSON,
) -> None:
    """Put loose files into one signed bundle; in a folder, what vouches for nothing is left."""
    from cloister.cli.evidence_files import read_collected
    from cloister.keyservice.clock import read_clock

    _refuse_existing(out, replace=replace)
    collectors = _accepted(paths, collector)
    items = read_collected(paths, collectors=collectors, at=read_clock().at)
    if not items:
        raise ConfigError("there is nothing that vouches for evidence", code="config.missing")
    _write(items, out, key, replace=replace, as_json=as_json)


def _wishes(
    evidence: Sequence[Path], kind: str, *, product: str, had: Sequence[Collected], at: int
) -> tuple[list[Wish], list[Collected]]:
    """Return what each piece of evidence takes, and what lies beside it."""
    from cloister.attestation.endorsement_bundle import Collected
    from cloister.cli.evidence_files import read_beside, read_evidence
    from cloister.endorsing.wishes import KINDS, wish_of

    if kind not in KINDS:
        raise ConfigError(
            f"nothing is fetched for {kind!r}: what vouches comes along, or is given by hand",
            code="config.value",
            hint="fetch knows " + ", ".join(KINDS),
        )
    wishes: list[Wish] = []
    beside: list[Collected] = []
    for path in evidence:
        found = read_evidence(path, kind, event_log=None)
        near = [each for each in read_beside(path, kind) if each.media_type == _BESIDE.get(kind)]
        given = [item.endorsement for item in had]
        wishes.append(wish_of(found, kind, product=product, endorsements=near or given))
        beside += [Collected(each, str(path), at) for each in near]
    return wishes, beside


def _named_wishes(
    kind: str, product: str, *, fmspc: str, ca: str, rim: Sequence[str], evidence: bool
) -> list[Wish]:
    """Return what was named instead of evidence."""
    from cloister.endorsing.amd import AmdWish
    from cloister.endorsing.intel import IntelWish
    from cloister.endorsing.nvidia import NvidiaWish, WantedRim

    if kind in {"sgx", "tdx", "azure-tdx"} and fmspc:
        if ca not in {"platform", "processor"}:
            raise ConfigError("--ca is platform or processor", code="config.value")
        try:
            model = bytes.fromhex(fmspc)
        except ValueError as e:
            raise ConfigError("--fmspc takes 12 hex digits", code="config.value") from e
        return [
            IntelWish(
                "sgx" if kind == "sgx" else "tdx",
                model,
                "platform" if ca == "platform" else "processor",
            )
        ]
    if kind == "nvidia" and rim:
        return [NvidiaWish(tuple(WantedRim(name) for name in rim))]
    if evidence:
        return []
    if kind in {"snp", "azure-snp"} and product:
        return [AmdWish.of_product(product)]
    raise ConfigError(
        "nothing says what to fetch",
        code="config.missing",
        hint="name evidence, or --fmspc (Intel), --product (AMD), --rim (NVIDIA)",
    )


def _told(ask: Callable[[Question], Answer]) -> Callable[[Question], Answer]:
    """Say what is being asked for, where that takes more than two seconds."""

    def asked(question: Question) -> Answer:
        text = f"... asking for {console.printable(question.about)}"
        timer = threading.Timer(_SLOW_S, console.note, [text])
        timer.daemon = True
        timer.start()
        try:
            return ask(question)
        finally:
            timer.cancel()

    return asked


def _note_what_lacks(wishes: Sequence[Wish], items: Sequence[Collected]) -> None:
    """Say what a manufacturer does not give out, and the host has."""
    from cloister.endorsing.amd import AmdWish

    provider = any(isinstance(each, AmdWish) and each.key == "VLEK" for each in wishes)
    types = {item.endorsement.media_type for item in items}
    if provider and "application/pkix-cert" not in types:
        console.note("a VLEK's certificate comes from the host: add its file, --endorsements FILE")


def _asking(
    source: Sequence[str],
    authority: Path | None,
    cache: Path | None,
    *,
    offline: bool,
    anew: bool,
    patience_s: float,
    quiet: bool,
) -> Asking:
    from cloister.endorsing.asking import Asking, Patience
    from cloister.endorsing.cache import Cache
    from cloister.endorsing.services import Services
    from cloister.network.https import ask
    from cloister.tee.endorsement_files import read_bounded

    if offline and anew:
        raise ConfigError("--offline asks nobody, --anew everybody", code="config.value")
    pem = None if authority is None else read_bounded(authority, _MAX_AUTHORITIES)
    tell: Callable[[str], None] = (lambda _: None) if quiet else console.note
    return Asking(
        Services.of(source),
        Cache.open(cache or collecting.cache_folder()),
        send=ask,
        authorities=pem,
        patience=Patience(total_s=patience_s),
        offline=offline,
        anew=anew,
        tell=tell,
    )


def _accepted(paths: Sequence[Path], named: Sequence[str]) -> list[Any]:
    """Return whose bundles are taken; nobody's, and no key is read, where no path is given."""
    return collecting.accepted(named) if paths else []


def _open(path: Path, named: Sequence[str]) -> EndorsementBundle:
    from cloister.tee.endorsement_files import open_bundle, read_bundle_bytes

    return open_bundle(read_bundle_bytes(path), collectors=collecting.accepted(named))


def _refuse_existing(out: Path, *, replace: bool) -> None:
    """Say so before anybody is asked."""
    if out.exists() and not replace:
        raise ConfigError(
            f"{out} exists already", code="config.exists", hint="name another file, or --replace"
        )


def _write(
    items: Sequence[Collected], out: Path, key: Path | None, *, replace: bool, as_json: bool
) -> None:
    """Sign what was collected, and write it whole or not at all."""
    from cloister.attestation.endorsement_bundle import EndorsementBundle
    from cloister.keyservice.new_file import write_new_file

    bundle, data = EndorsementBundle.make(items, collecting.collector_key(key))
    if replace:
        fresh = out.with_name(f".{out.name}.new")
        fresh.unlink(missing_ok=True)
        write_new_file(fresh, data)
        fresh.replace(out)
    else:
        write_new_file(out, data)
    ends = [
        contents.window.end
        for contents, _ in map(_described, bundle.items)
        if contents is not None and contents.window is not None
    ]
    until = _text(min(ends)) if ends else None
    if as_json:
        console.emit(
            {
                "file": str(out),
                "collector": bundle.collector.text,
                "items": len(bundle.items),
                "until": until,
            }
        )
        return
    console.lines(f"{out}: endorsements: {len(bundle.items)}; all of them count until {until}")
    console.note(f"collector: {bundle.collector.text}")


def _described(item: Collected) -> tuple[Contents | None, str]:
    """Read what an item is; where it cannot be read, say why."""
    from cloister.endorsing.contents import describe

    try:
        return describe(item.endorsement), ""
    except CloisterError as e:
        return None, e.public


def _record(item: Collected, contents: Contents | None, problem: str) -> dict[str, Any]:
    window = None if contents is None else contents.window
    return {
        "what": item.endorsement.media_type if contents is None else contents.what,
        "about": problem if contents is None else contents.about,
        "from": None if window is None else _text(window.start),
        "until": None if window is None else _text(window.end),
        "collected": _text(item.at),
        "source": item.source,
        "media_type": item.endorsement.media_type,
        "bytes": len(item.endorsement.body),
    }


def _hosts(source: str) -> str:
    """Shorten addresses to their hosts; a file's name stays."""
    hosts = dict.fromkeys(
        each.split("/")[2] if each.startswith("https://") else each for each in source.split(" ")
    )
    return " ".join(hosts)


def _listed(record: dict[str, Any]) -> str:
    return console.printable(", ".join(record["out_of_time"]))


def _text(at: int) -> str:
    """Write an instant; what lies beyond the calendar is written as seconds."""
    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(at)
