"""Certificates are renewed under a connection that stays: the whole way, from service to relay.

The unit tests show each part: the key service renews (`test_renewal`), the launcher asks in time
(`test_renewer`), a relay shows another certificate (`test_relay`). Here they are what runs a job.
"""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from integration.cli.desk import Desk
from integration.distributed.native import cluster_of
from integration.distributed.shielded import run_shielded

PROGRAM: Final = Path(__file__).parent / "programs" / "long_talk.py"
TASKS: Final = ("worker-0", "worker-1")
LIFETIME_S: Final = 60  # no policy may say less; a member renews when half of it is over
LASTS_S: Final = LIFETIME_S + 5
CERTIFICATES: Final = 3


@pytest.mark.slow
@pytest.mark.jobs
@pytest.mark.timeout(400)
@pytest.mark.spec("RLY-7", "MEM-62")
def test_a_connection_outlives_the_certificates_that_opened_it(tmp_path: Path) -> None:
    """Two renewals on each side, and data flows past the end of what both had shown."""
    code = tmp_path / "code"
    code.mkdir()
    (code / PROGRAM.name).write_bytes(PROGRAM.read_bytes())
    folder = tmp_path / "run"
    run = run_shielded(
        cluster_of("pytorch", worker=2),
        [f"/code/{PROGRAM.name}"],
        code,
        folder,
        environment={"LASTS_S": str(LASTS_S), "CERTIFICATES": str(CERTIFICATES)},
        lifetime_s=LIFETIME_S,
        capture=True,
    )
    reports = run.reports(*TASKS)
    [last] = reports[1]["talked"]

    for report in reports:
        shown = [x509.load_pem_x509_certificate(text.encode()) for text in report["certificates"]]
        assert len(shown) >= CERTIFICATES
        assert len({each.serial_number for each in shown}) == len(shown)
        assert len({_key(each) for each in shown}) == 1
        ends = [each.not_valid_after_utc.timestamp() for each in shown]
        assert ends == sorted(ends)
        assert ends[0] < last < ends[-1]

    # All of it through one connection, which nothing held up, and one more at the very end.
    assert [report["counts"] for report in reports] == [reports[0]["counts"]] * 2
    first, second = reports[0]["counts"]
    assert first > LASTS_S
    assert second == 1
    assert reports[1]["gap_s"] < LIFETIME_S / 10
    caller = _receipt(folder, "worker-1")["network"]["peers"]["worker-0"]
    assert (caller["opened"], caller["accepted"]) == (2, 0)
    longest = sorted(len(stream.content()) for stream in run.streams)[-2:]
    assert min(longest) > first * 4096

    renewed = _renewals(folder)
    for task in TASKS:
        instance = _receipt(folder, task)["instance"]
        assert renewed[instance] >= CERTIFICATES - 1
    assert len(renewed) == len(TASKS)


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _receipt(folder: Path, task: str) -> dict[str, Any]:
    document = json.loads((folder / "job" / "receipts" / f"{task}.0.json").read_text())
    return dict(document["body"])


def _renewals(folder: Path) -> collections.Counter[str]:
    """Return how often each instance was granted a renewal, by the key service's log."""
    desk = Desk(folder)
    try:
        desk.run("audit", "fetch", "log").good()
        shown = desk.json("audit", "show", "log", "--operation", "renew").good().record
    finally:
        desk.stop_service()
    assert {entry["decision"] for entry in shown["entries"]} == {"granted"}
    return collections.Counter(entry["instance"] for entry in shown["entries"])
