"""What Azure's vTPM holds, and what is sent of it."""

import json
from typing import Any

import cbor2
import pytest

from cloister.errors import MalformedError
from cloister.tee.azure.layout import AzureEvidence, HclReport, RuntimeData
from cloister.testing.manufacturers.azure import SimulatedAzureVm

VM = SimulatedAzureVm(b"layout")
RUNTIME = json.dumps(VM.runtime()).encode()
HCL = HclReport("snp", VM.chip.report(), RUNTIME)
GOOD = HCL.to_bytes()


def malformed(read: Any, *arguments: Any, code: str = "evidence.malformed", **named: Any) -> None:
    with pytest.raises(MalformedError) as e:
        read(*arguments, **named)
    assert e.value.code == code


@pytest.mark.spec("AZ-3")
def test_the_index_is_read_as_it_was_written() -> None:
    """With and without padding; cut, it is malformed."""
    for data in (GOOD, GOOD.ljust(4096, b"\0")):
        assert HclReport.from_bytes(data) == HCL
    tdx = HclReport("tdx", bytes(1184), RUNTIME, 2)
    assert HclReport.from_bytes(tdx.to_bytes()) == tdx
    for end in range(0, len(GOOD), 7):
        malformed(HclReport.from_bytes, GOOD[:end])
    malformed(HclReport.from_bytes, GOOD + b"\1")
    malformed(HclReport.from_bytes, GOOD.ljust(8193, b"\0"))


@pytest.mark.spec("AZ-3")
@pytest.mark.parametrize("place", [0, 4, 8, 12, 16, 20, 31, 1216, 1220, 1224, 1228, 1232, 1235])
def test_every_byte_of_the_headers_counts(place: int) -> None:
    """One changed is malformed."""
    malformed(HclReport.from_bytes, GOOD[:place] + bytes([GOOD[place] ^ 4]) + GOOD[place + 1 :])


@pytest.mark.spec("AZ-4")
def test_runtime_data() -> None:
    """The key, the configuration, what the guest had covered."""
    found = RuntimeData.from_bytes(RUNTIME)
    assert found.ak == VM.tpm.ak
    assert found.configuration["secure-boot"] is True
    assert found.configuration["vmUniqueId"] == "00000000-0000-4000-8000-000000000001"
    assert found.user_data == bytes(64)
    old = json.dumps(VM.runtime(**{"user-data": None})).encode()
    assert RuntimeData.from_bytes(old).user_data == b""


@pytest.mark.spec("AZ-4")
@pytest.mark.parametrize(
    "changes",
    [
        {"keys": None},
        {"keys": {}},
        {"keys": []},
        {"keys": [1, "x", None]},
        {"keys": [VM.runtime()["keys"][1]]},
        {"keys": [VM.runtime()["keys"][0]] * 2},
        {"keys": [VM.runtime()["keys"][0] | {"kty": "EC"}]},
        {"keys": [VM.runtime()["keys"][0] | {"n": ""}]},
        {"keys": [VM.runtime()["keys"][0] | {"n": 5}]},
        {"keys": [VM.runtime()["keys"][0] | {"n": "a b"}]},
        {"keys": [VM.runtime()["keys"][0] | {"n": "ÄÄÄÄ"}]},
        {"keys": [VM.runtime()["keys"][0] | {"n": "AAAAA"}]},
        {"vm-configuration": None},
        {"vm-configuration": []},
        {"vm-configuration": {"x": None}},
        {"vm-configuration": {"x": {}}},
        {"vm-configuration": {"x": "y" * 257}},
        {"vm-configuration": {"x" * 257: 1}},
        {"vm-configuration": {str(number): number for number in range(33)}},
        {"user-data": "zz"},
        {"user-data": "00"},
        {"user-data": 7},
    ],
)
def test_other_runtime_data_is_malformed(changes: dict[str, Any]) -> None:
    """One key, an object, 64 bytes."""
    malformed(RuntimeData.from_bytes, json.dumps(VM.runtime(**changes)).encode())


@pytest.mark.spec("AZ-4")
def test_keys_of_other_sizes_are_malformed() -> None:
    """A key that somebody can factor is none."""
    for n in ("AQAB", "_" * 700):
        weak = json.dumps(VM.runtime(keys=[VM.runtime()["keys"][0] | {"n": n}])).encode()
        malformed(RuntimeData.from_bytes, weak, code="certificate.malformed")


def test_what_is_no_json_is_malformed() -> None:
    """Twice the same name, other values, depth, length."""
    for data in (b"", b"[]", b"7", b'{"keys":[],"keys":[]}', b"\xff"):
        malformed(RuntimeData.from_bytes, data)
    for data in (b"[" * 5 + b"]" * 5, b" " * 4097):
        malformed(RuntimeData.from_bytes, data, code="wire.too-large")


@pytest.mark.spec("AZ-2")
def test_the_body() -> None:
    """Read as it was written; other fields, versions and types are malformed."""
    data = VM.evidence(b"nonce")
    assert AzureEvidence.from_bytes(data).to_bytes() == data
    fields = cbor2.loads(data)
    for change in (
        {"version": 2},
        {"more": 1},
        {"report": "text"},
        {"report": bytes(16385)},
        {"runtime_data": bytes(4097)},
        {"quote": b""},
        {"quote": fields["quote"] | {"more": 1}},
    ):
        malformed(
            AzureEvidence.from_bytes,
            cbor2.dumps(fields | change, canonical=True),
            code="message.malformed",
        )


@pytest.mark.spec("AZ-3")
def test_a_td_has_a_td_quote() -> None:
    """The local report alone can be verified by nobody else."""
    quote = VM.tpm.quote(b"")
    tdx = HclReport("tdx", bytes(1184), RUNTIME)
    malformed(AzureEvidence.of, tdx, quote)
    malformed(AzureEvidence.of, HCL, quote, td_quote=b"quote")
    assert AzureEvidence.of(tdx, quote, td_quote=b"quote").report == b"quote"
    assert AzureEvidence.of(HCL, quote).report == HCL.hardware
