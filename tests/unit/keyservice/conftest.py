"""A trust domain with its real service in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.testing.keyservice import ServiceBench, policy_text


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A domain with two registered volumes."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    yield bench
    bench.close()


@pytest.fixture
def policy(bench: ServiceBench) -> bytes:
    """The hash of an applied policy that names the bench's platform."""
    return bench.apply(policy_text(bench))
