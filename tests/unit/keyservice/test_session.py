"""What a request must show."""

import pytest

from cloister.errors import EvidenceError
from cloister.keyservice.session import require_service


@pytest.mark.spec("KR-19")
def test_another_service_is_refused() -> None:
    """A message names the service that it is for."""
    require_service(b"s" * 32, b"s" * 32)
    with pytest.raises(EvidenceError) as e:
        require_service(b"s" * 32, b"t" * 32)
    assert e.value.code == "evidence.binding"
