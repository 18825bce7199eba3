"""Which digests a verifier takes as anchors."""

from __future__ import annotations

import pytest

from cloister.errors import ConfigError
from cloister.tee.anchors import require_anchors


@pytest.mark.spec("INTEL-15")
def test_anchors_are_given_and_are_digests() -> None:
    """An empty list is a mistake, not a policy."""
    assert require_anchors([bytes(32), bytes(32)]) == {bytes(32)}
    with pytest.raises(ConfigError) as e:
        require_anchors([])
    assert e.value.code == "config.missing"
    with pytest.raises(ConfigError) as e:
        require_anchors([bytes(31)])
    assert e.value.code == "config.value"
