"""Reports of several GPUs: NVIDIA's list, and the same packed."""

import base64
import json

import pytest

from cloister.errors import MalformedError
from cloister.tee.nvidia.evidence_list import (
    DeviceEvidence,
    PackedDevice,
    devices_from_json,
    devices_to_json,
    pack_devices,
    unpack_devices,
)
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.wire import encode

REPORT = SimulatedNvidia("list", at=1_800_000_000).gpu("HOPPER").report(bytes(range(32)))
DATA = REPORT.to_bytes()
LIST = json.loads(devices_to_json((DeviceEvidence("HOPPER", b"pem", REPORT),)))


@pytest.mark.spec("NV-6")
def test_lists_round_trip() -> None:
    """What was written is read."""
    devices = (DeviceEvidence("HOPPER", b"pem", REPORT), DeviceEvidence("BLACKWELL", b"p", REPORT))
    assert devices_from_json(devices_to_json(devices)) == devices


@pytest.mark.spec("NV-6")
@pytest.mark.parametrize(
    "entries",
    [
        [],
        {},
        LIST * 17,
        [1],
        [{k: v for k, v in LIST[0].items() if k != "arch"}],
        [LIST[0] | {"more": "x"}],
        [LIST[0] | {"arch": "hopper"}],
        [LIST[0] | {"arch": 1}],
        [LIST[0] | {"nonce": "00" * 32}],
        [LIST[0] | {"nonce": LIST[0]["nonce"].upper()}],
        [LIST[0] | {"evidence": LIST[0]["evidence"] + "\n"}],
        [LIST[0] | {"evidence": "*"}],
        [LIST[0] | {"certificate": base64.b64encode(bytes(20000)).decode()}],
        [LIST[0] | {"certificate": "cGVN"[:3] + "="}],
    ],
)
def test_other_lists_are_malformed(entries: object) -> None:
    """Only the list that NVIDIA defines, without slack."""
    with pytest.raises(MalformedError) as caught:
        devices_from_json(json.dumps(entries).encode())
    assert caught.value.code == "evidence.malformed"


@pytest.mark.spec("NV-6")
def test_what_nvidias_collector_prints_is_read() -> None:
    """Versions beside each report, which are the report's; an object with its result around all."""
    entry = LIST[0] | {
        "version": "1.0",
        "driver_version": REPORT.driver_version,
        "vbios_version": REPORT.vbios_version,
    }
    whole = {"evidences": [entry], "result_code": 0, "result_message": "Ok"}
    plain = devices_from_json(json.dumps(LIST).encode())
    for each in ([entry], whole):
        assert devices_from_json(json.dumps(each).encode()) == plain
    for other in (
        whole | {"result_code": 1}, whole | {"result_code": False}, whole | {"more": 1},
        whole | {"evidences": []}, {"evidences": [entry]}, whole | {"evidences": {}},
        [entry | {"version": "2.0"}], [entry | {"driver_version": "1.2.3"}],
        [entry | {"vbios_version": ""}], [entry | {"vbios_version": 96}],
    ):  # fmt: skip
        with pytest.raises(MalformedError) as caught:
            devices_from_json(json.dumps(other).encode())
        assert caught.value.code == "evidence.malformed"


@pytest.mark.spec("NV-6")
def test_a_key_twice_is_malformed() -> None:
    """Two readers cannot see two nonces."""
    text = json.dumps(LIST).replace('"arch"', '"arch": "HOPPER", "arch"', 1)
    with pytest.raises(MalformedError):
        devices_from_json(text.encode())


PACKED = (PackedDevice(REPORT, (b"leaf", b"root")), PackedDevice(REPORT, (b"other", b"root")))


@pytest.mark.spec("NV-9")
def test_packed_devices_round_trip() -> None:
    """Certificates that several devices share stand once."""
    data = pack_devices(PACKED)
    assert unpack_devices(data) == PACKED
    assert data.count(b"root") == 1


@pytest.mark.spec("NV-9")
@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"certificates": [b"leaf", b"root", b"other", b"unused"]},
        {"certificates": [b"leaf", b"root", b"root"]},
        {"certificates": [b"leaf", "root", b"other"]},
        {"certificates": []},
        {"devices": []},
        {"devices": [{"report": DATA, "path": []}]},
        {"devices": [{"report": DATA, "path": [3]}]},
        {"devices": [{"report": DATA, "path": [-1]}]},
        {"devices": [{"report": DATA, "path": [True]}]},
        {"devices": [{"report": DATA, "path": [1, 0, 2]}]},
        {"devices": [{"report": DATA, "path": [0] * 9}]},
        {"devices": [{"report": b"", "path": [0, 1, 2]}]},
        {"devices": [{"report": DATA, "path": [0, 1, 2], "more": 1}]},
        {"devices": [{"report": DATA, "path": [0, 1, 2]}] * 17},
        {"more": 1},
    ],
)
def test_other_packings_are_malformed(change: dict[str, object]) -> None:
    """There is one way to pack: nothing unused, nothing twice, nothing that is not there."""
    content = {
        "version": 1,
        "certificates": [b"leaf", b"root", b"other"],
        "devices": [{"report": DATA, "path": [0, 1]}, {"report": DATA, "path": [2, 1]}],
    }
    assert unpack_devices(encode(content)) == PACKED
    with pytest.raises(MalformedError) as caught:
        unpack_devices(encode(content | change))
    assert caught.value.code in {"evidence.malformed", "message.malformed"}
