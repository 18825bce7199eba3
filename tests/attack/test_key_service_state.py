"""The operator owns the key service's disk: changes are refused, copies are useless."""

import os
import shutil
from pathlib import Path

import pytest

from cloister.errors import TamperedError
from cloister.keyservice.store import Store
from cloister.testing.keyservice import CODE_KEY, DATA_KEY, ServiceBench, policy_text


@pytest.fixture
def bench(tmp_path: Path) -> ServiceBench:
    """A domain with state worth attacking, stopped."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    bench.apply(policy_text(bench))
    bench.close()
    return bench


def refused(bench: ServiceBench) -> str:
    """Open the state, expecting a refusal."""
    with pytest.raises(TamperedError) as e:
        Store.open(bench.domain.keyservice_directory, bench.platform)
    return e.value.code


@pytest.mark.spec("KR-91")
def test_one_flipped_bit_on_any_page_is_refused(bench: ServiceBench) -> None:
    """A bit in each page, and in each part of a page."""
    path = bench.domain.keyservice_directory / "state.db"
    original = path.read_bytes()
    for position in range(0, len(original), 1361):
        changed = bytearray(original)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        assert refused(bench) == "state.tampered"
    path.write_bytes(original)
    Store.open(bench.domain.keyservice_directory, bench.platform).close()


@pytest.mark.spec("KR-91")
def test_swapped_pages_are_refused(bench: ServiceBench) -> None:
    """Each page is authenticated at its place."""
    path = bench.domain.keyservice_directory / "state.db"
    data = path.read_bytes()
    first, second = data[4096:8192], data[8192:12288]
    path.write_bytes(data[:4096] + second + first + data[12288:])
    assert refused(bench) == "state.tampered"


@pytest.mark.spec("KR-92")
def test_the_state_of_yesterday_is_refused(bench: ServiceBench, tmp_path: Path) -> None:
    """A revoked policy would be current again, an anchored volume old again."""
    directory = bench.domain.keyservice_directory
    shutil.copytree(directory, tmp_path / "yesterday")
    bench.store = Store.open(directory, bench.platform)
    with bench.store.transaction():
        bench.store.append(b"today")
    bench.store.close()
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "yesterday", directory)
    assert refused(bench) == "state.rolled-back"


@pytest.mark.spec("KR-91")
def test_another_domains_database_is_refused(bench: ServiceBench, tmp_path: Path) -> None:
    """Exchanging two services' states gives neither."""
    other = ServiceBench.create(tmp_path, "other.test")
    other.close()
    name = "keyservice/state.db"
    shutil.copy(other.domain.directory / name, bench.domain.directory / name)
    assert refused(bench) == "state.tampered"


@pytest.mark.spec("KR-90")
def test_no_secret_is_readable_anywhere_in_the_state(bench: ServiceBench) -> None:
    """Volume keys and seeds are looked for in every file of the service, and not found."""
    store = Store.open(bench.domain.keyservice_directory, bench.platform)
    secrets = store.secrets()
    wanted = [DATA_KEY, CODE_KEY, secrets.signing_seed, secrets.hpke_seed, secrets.ca_key]
    assert store.volume(b"d" * 16) is not None
    found = b""
    for folder, _, names in os.walk(bench.domain.keyservice_directory):
        for name in names:
            found += Path(folder, name).read_bytes()
    store.close()
    assert not any(secret in found for secret in wanted)
