"""What a machine offers: fake trees of several machines, each asked as it would be for evidence."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.errors import UnavailableError
from cloister.tee.azure.attester import AK_HANDLE, HCL_INDEX
from cloister.tee.kernel import KernelFiles
from cloister.tee.offers import Machine, Offer, offer_of, offers
from cloister.tee.places import Places
from cloister.tee.registry import ROOTS_OF_TRUST
from cloister.testing.azure import Firmware
from cloister.testing.kernel import FakeTsm
from cloister.testing.manufacturers.azure import SimulatedAzureTd, SimulatedAzureVm
from cloister.testing.nvml import FakeNvml
from cloister.testing.swtpm import SoftwareTpm


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A machine with nothing."""
    return Machine(
        Places(
            tsm=tmp_path / "tsm" / "report",
            gramine=tmp_path / "attestation",
            tpm=tmp_path / "tpmrm0",
            metadata="http://127.0.0.1:9",
            nvml=tmp_path / "libnvidia-ml.so.1",
        ),
        "6.8.0-45-generic",
        root=tmp_path,
    )


def found(machine: Machine) -> dict[str, Offer]:
    """Its offers by kind."""
    return {each.kind: each for each in offers(machine)}


def device(machine: Machine, name: str) -> None:
    """Put a device into its tree."""
    path = machine.root / "dev" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")


def with_tsm(machine: Machine, provider: str, **changes: object) -> Machine:
    """Give it configfs-tsm."""
    fake = FakeTsm(machine.places.tsm, provider, make=lambda blob: blob)
    for name, value in changes.items():
        setattr(fake, name, value)
    machine.places.tsm.mkdir(parents=True)
    return replace(machine, files=fake)


def test_a_machine_with_nothing_says_what_is_missing(bare: Machine) -> None:
    """Of every root of trust that there is, in their order; only simulation is offered."""
    made = offers(bare)
    assert [each.kind for each in made] == [each.name for each in ROOTS_OF_TRUST]
    assert [each.kind for each in made if each.offered] == ["sim"]
    for each in made[1:]:
        assert each.interface
        assert each.missing
    assert json.loads(json.dumps([each.as_record() for each in made]))[0]["offered"] is True


def test_what_cannot_be_used_now_is_told_from_what_is_not_there(bare: Machine) -> None:
    """Neither is offered; of the first it is not known what it would be."""
    assert [each.kind for each in offers(bare) if each.trouble is not None] == []
    shut = with_tsm(bare, "tdx_guest", fail={"provider": errno.EACCES})
    for kind in ("tdx", "snp"):
        asked = offer_of(shut, kind)
        assert (asked.offered, asked.remedy) == (
            False,
            "run as root, or let this user read and write it",
        )
        assert isinstance(asked.trouble, UnavailableError)
    silent = replace(bare, places=replace(bare.places, tpm=Path("/dev/null")))
    for kind in ("tpm", "azure-snp", "azure-tdx"):
        asked = offer_of(silent, kind)
        assert asked.trouble is not None
        assert asked.missing == asked.trouble.public
    # Of a machine that is not named, this one's kernel is meant.
    assert Machine().kernel == os.uname().release


def test_one_root_of_trust_is_asked_alone(bare: Machine) -> None:
    """The kernel is not touched for what a TPM offers."""

    class Untouchable:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    files: KernelFiles = Untouchable()  # type: ignore[assignment]  # nobody may call it
    assert not offer_of(replace(bare, files=files), "azure-snp").offered
    assert offer_of(replace(bare, files=files), "sim").offered


@pytest.mark.parametrize(("provider", "kind"), [("tdx_guest", "tdx"), ("sev_guest", "snp")])
def test_the_provider_says_which_guest_it_is(bare: Machine, provider: str, kind: str) -> None:
    """The other kind is told who makes reports here; nothing is left in configfs."""
    machine = with_tsm(bare, provider)
    both = found(machine)
    assert both[kind].offered
    assert provider in both[kind].interface
    other = both["snp" if kind == "tdx" else "tdx"]
    assert not other.offered
    assert provider in other.missing
    assert isinstance(machine.files, FakeTsm)
    assert machine.files.entries == {}


def test_an_old_kernel_is_named(bare: Machine) -> None:
    """Also one whose version cannot be read is no error."""
    old = found(replace(bare, kernel="6.6.9"))["tdx"]
    assert (old.missing, old.remedy) == ("Linux 6.6.9 has no configfs-tsm", "Linux 6.7 or newer")
    assert "this is not a TDX trust domain" in found(replace(bare, kernel="odd"))["tdx"].missing


@pytest.mark.parametrize(("name", "kind"), [("tdx_guest", "tdx"), ("sev-guest", "snp")])
def test_a_guest_without_configfs_is_told_to_mount_it(bare: Machine, name: str, kind: str) -> None:
    """Its device says that it is such a guest."""
    device(bare, name)
    offer = found(bare)[kind]
    assert name in offer.missing
    assert "mount -t configfs" in offer.remedy


def test_a_permission_is_told_as_such(bare: Machine) -> None:
    """The interface is there, and this user may not."""
    machine = with_tsm(bare, "tdx_guest", fail={"provider": errno.EACCES})
    offer = found(machine)["tdx"]
    assert "Permission denied" in offer.missing
    assert offer.remedy == "run as root, or let this user read and write it"
    unplugged = with_tsm(
        replace(bare, places=replace(bare.places, tsm=bare.root / "other")),
        "tdx_guest",
        fail={"provider": errno.ENXIO},
    )
    assert "provider cannot be read" in found(unplugged)["tdx"].missing


def test_an_enclave_is_known_by_gramines_files(bare: Machine) -> None:
    """DCAP is offered, EPID and none are not; the device alone is no enclave."""
    device(bare, "sgx_enclave")
    assert "the processor has SGX" in found(bare)["sgx"].remedy
    bare.places.gramine.mkdir()
    kind = bare.places.gramine / "attestation_type"
    kind.write_text("dcap\n")
    assert found(bare)["sgx"].offered
    kind.write_text("none")
    refused = found(bare)["sgx"]
    assert not refused.offered
    assert "sgx.remote_attestation" in refused.remedy
    kind.unlink()
    assert not found(bare)["sgx"].offered


def test_a_tpm_is_asked(bare: Machine, swtpm: SoftwareTpm) -> None:
    """And one that is none of Azure's says so; a device of another kind does not answer."""
    machine = replace(bare, places=replace(bare.places, tpm=swtpm.path))
    both = found(machine)
    assert both["tpm"].offered
    assert both["azure-snp"].missing == "the TPM holds no report of Azure's firmware"
    device(bare, "tpm0")
    assert "without its resource manager" in found(bare)["tpm"].remedy
    bare.places.tpm.write_bytes(b"")
    assert "No such device" in found(bare)["tpm"].missing
    swtpm.stop()
    assert not found(machine)["tpm"].offered


def test_azures_vms_are_told_apart(bare: Machine, swtpm: SoftwareTpm) -> None:
    """By the report in the vTPM; without a key there is no offer."""
    machine = replace(bare, places=replace(bare.places, tpm=swtpm.path))
    Firmware(swtpm, SimulatedAzureVm(b"offer").hcl)
    both = found(machine)
    assert both["azure-snp"].offered
    assert both["azure-tdx"].missing == "this VM's reports are of snp"
    with SoftwareTpm() as other:
        td = replace(bare, places=replace(bare.places, tpm=other.path))
        runtime = b"{}"
        other.store(HCL_INDEX, SimulatedAzureTd(b"offer").hcl(runtime).to_bytes())
        assert "0x81000003" in found(td)["azure-tdx"].missing
        other.persist(AK_HANDLE)
        offer = found(td)["azure-tdx"]
        assert offer.offered
        assert "http://127.0.0.1:9, which was not asked" in offer.interface


def test_gpus_are_counted(bare: Machine, nvml: FakeNvml) -> None:
    """Where confidential computing is on."""
    machine = replace(bare, places=replace(bare.places, nvml=nvml.library))
    nvml.put("count0", 2)
    offer = found(machine)["nvidia"]
    assert offer.offered
    assert offer.interface.endswith("2 of HOPPER")
    for name, value, missing in (
        ("feature0", 0, "confidential computing is off"),
        ("init.code0", 9, "the driver is not loaded"),
    ):
        nvml.put(name, value)
        assert missing in found(machine)["nvidia"].missing


def test_what_is_verified_only_says_so(bare: Machine) -> None:
    """Also inside an enclave of AWS's."""
    device(bare, "nsm")
    both = found(bare)
    assert both["nitro"].missing.endswith("there is /dev/nsm")
    assert "not collected" in both["cca"].missing
