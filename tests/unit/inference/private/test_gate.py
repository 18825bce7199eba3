"""The order in which a gate decides; what attackers try is in tests/attack."""

import json

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, ReleaseDeniedError
from cloister.inference.private.counting import RateCounter
from cloister.inference.private.gate import CODE_FIELD, KEYS_TARGET
from cloister.inference.private.keys import Sizes
from cloister.inference.private.request_auth import Principal
from cloister.inference.service import HTTPRequest
from cloister.testing.certificates import FakeDomain
from cloister.testing.private import NOW, Enclave, served

DOMAIN = FakeDomain("clinic.example", at=NOW)
ROW = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
QUERY = HTTPRequest("POST", "/v2/models/double/infer", {}, ROW)
READY = HTTPRequest("GET", "/v2/models/double/ready", {}, b"")


@pytest.mark.spec("PQ-44", "PQ-51", "PQ-52", "SRV-54")
def test_a_query_is_counted_before_it_is_computed() -> None:
    """One too many is told to come later; what runs no model costs nothing."""
    enclave = Enclave(DOMAIN, counters=(RateCounter(2),))
    with served(enclave.gate) as url:
        channel = enclave.channel(url)
        found = [channel.exchange(each).status for each in (QUERY, READY, QUERY, READY, QUERY)]
        assert found == [200, 200, 200, 200, 429]
        refused = channel.exchange(QUERY)
        assert refused.headers[CODE_FIELD] == "server.busy"
        assert refused.headers["retry-after"] == "1"
    assert enclave.model.asked == 2


@pytest.mark.spec("PQ-44")
@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "POST"])
def test_every_method_but_get_is_counted(method: str) -> None:
    """Whatever the service makes of it."""
    enclave = Enclave(DOMAIN, counters=(RateCounter(1),))
    with served(enclave.gate) as url:
        channel = enclave.channel(url)
        asked = HTTPRequest(method, "/v2/models/double", {}, b"")
        found = [channel.exchange(each).status for each in (READY, asked, READY, asked)]
    assert found == [200, 405, 200, 429]


@pytest.mark.spec("PQ-50")
def test_numbers_about_queries_are_inside_envelopes_only() -> None:
    """Outside they would tell what each query was."""
    enclave = Enclave(DOMAIN, show_metrics=True)
    assert enclave.gate.handle(HTTPRequest("GET", "/metrics", {}, b"")).status == 404
    with served(enclave.gate) as url:
        answer = enclave.channel(url).exchange(HTTPRequest("GET", "/metrics", {}, b""))
    assert answer.status == 200
    assert b"queries_waiting" in answer.body


@pytest.mark.spec("PQ-54")
def test_the_log_has_nothing_of_sealed_queries(caplog: pytest.LogCaptureFixture) -> None:
    """Neither that one was answered nor that, and why, one was refused."""
    caplog.set_level("DEBUG", "cloister")
    enclave = Enclave(DOMAIN, counters=(RateCounter(1),), sizes=Sizes({"double": 1024}, 1024))
    with served(enclave.gate) as url:
        channel = enclave.channel(url)
        stranger = enclave.channel(url, asker=Principal("mallory", SigningKey.generate()))
        caplog.clear()
        assert [channel.exchange(QUERY).status for _ in range(2)] == [200, 429]
        assert stranger.exchange(QUERY).status == 401
        missing = HTTPRequest("GET", "/v2/models/nothing/ready", {}, b"")
        assert channel.exchange(missing).status == 404
    told = [
        each for each in caplog.records if each.name.startswith("cloister.inference.private.gate")
    ]
    assert told == []


def test_a_spent_budget_is_the_answer() -> None:
    """With the key service's code."""

    def spend(asker: str, at: int) -> None:
        raise ReleaseDeniedError(f"nothing is left for {asker}", code="budget.spent")

    enclave = Enclave(DOMAIN, counters=(spend,))
    with served(enclave.gate) as url:
        answer = enclave.channel(url).exchange(QUERY)
    assert (answer.status, answer.headers[CODE_FIELD]) == (403, "budget.spent")
    assert json.loads(answer.body)["error"] == "nothing is left for alice"
    assert enclave.model.asked == 0


@pytest.mark.spec("PQ-50", "PQ-1")
def test_keys_are_shown_while_there_is_a_certificate() -> None:
    """Afterwards the server says that it has none; nothing is raised."""
    now = [NOW]
    credential = DOMAIN.credential("serve", lifetime_s=600)
    enclave = Enclave(DOMAIN, credential=credential, clock=lambda: now[0])
    asked = HTTPRequest("GET", KEYS_TARGET, {}, b"")
    shown = enclave.gate.handle(asked)
    assert (shown.status, shown.headers["cache-control"]) == (200, "no-store")
    assert enclave.gate.is_quick(asked)
    assert not enclave.gate.is_quick(QUERY)
    now[0] += 601
    assert enclave.gate.handle(asked).status == 503


@pytest.mark.spec("PQ-6")
def test_keys_are_forgotten_by_the_gates_own_time() -> None:
    """Which does not go back."""
    now = [NOW]
    enclave = Enclave(DOMAIN, lifetime_s=600, clock=lambda: now[0])
    with served(enclave.gate) as url:
        channel = enclave.channel(url, clock=lambda: NOW)
        assert channel.exchange(READY).status == 200
        now[0] = NOW + 601
        enclave.gate.tidy()
        now[0] = NOW
        with pytest.raises(CloisterError):
            channel.exchange(READY)


@pytest.mark.spec("PQ-35")
def test_models_may_have_answers_of_other_sizes() -> None:
    """The size follows the target; a refusal about a model has the model's."""
    enclave = Enclave(DOMAIN, sizes=Sizes({"double": 2048}, 1024))
    with served(enclave.gate) as url:
        channel = enclave.channel(url)
        assert channel.answer_bytes(QUERY.target) == 2048
        assert channel.answer_bytes("/v2") == 1024
        for request in (QUERY, READY, HTTPRequest("GET", "/v2", {}, b"")):
            assert channel.exchange(request).status == 200


@pytest.mark.spec("PQ-52")
def test_what_nobody_foresaw_is_sealed_and_padded_too(caplog: pytest.LogCaptureFixture) -> None:
    """Who carries it sees an answer like others, and the log does not have the query."""

    def count(asker: str, at: int) -> None:
        raise KeyError("a secret")

    enclave = Enclave(DOMAIN, counters=(count,))
    with served(enclave.gate) as url:
        channel = enclave.channel(url)
        answer = channel.exchange(QUERY)
        assert answer.status == 500
        assert channel.exchange(READY).status == 200
    assert "error=KeyError" in caplog.text
    assert "secret" not in caplog.text + answer.body.decode()


@pytest.mark.spec("PQ-35", "PQ-52")
def test_scores_beyond_every_number_are_a_sealed_refusal() -> None:
    """Nothing is asked twice."""
    enclave = Enclave(DOMAIN)
    body = b'{"examples":[{"x":[3e38,2,3,4]}]}'
    with served(enclave.gate) as url:
        answer = enclave.channel(url).exchange(
            HTTPRequest("POST", "/v1/models/double:classify", {}, body)
        )
    assert answer.status == 400
    assert enclave.model.asked == 1


@pytest.mark.spec("PQ-35", "PQ-52")
def test_what_cannot_fit_is_refused_with_its_code() -> None:
    """Classes before they are computed, numbers before they are written; and it was counted."""
    spent: list[str] = []
    enclave = Enclave(
        DOMAIN,
        sizes=Sizes({"double": 1024}, 1024),
        counters=(lambda asker, at: spent.append(f"{asker} {at}"),),
    )
    x = {"name": "x", "datatype": "FP32", "shape": [100, 4], "data": [1] * 400}
    with served(enclave.gate) as url:
        channel = enclave.channel(url)
        for parameters, asked in (({"classification": 4}, 0), ({}, 1)):
            body = json.dumps({"inputs": [x], "parameters": parameters}).encode()
            answer = channel.exchange(HTTPRequest("POST", QUERY.target, {}, body))
            assert (answer.status, answer.headers[CODE_FIELD]) == (413, "private.answer-size")
            assert enclave.model.asked == asked
    assert len(spent) == 2
