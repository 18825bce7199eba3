"""From hostile quotes, collateral and event logs, only our errors escape."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import CloisterError, MalformedError
from cloister.tee.intel.der import elements
from cloister.tee.intel.endorsements import COLLATERAL_TYPE, read_collateral
from cloister.tee.intel.layout import Quote
from cloister.tee.intel.pck import SGX_EXTENSION, read_chain, read_extension
from cloister.tee.intel.qe_identity import read_qe_identity
from cloister.tee.intel.tcb_info import read_tcb_info
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.eventlog import read_log, replay
from cloister.tee.tdx.layout import LoggedQuote, TdReport
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT: Final = 1767225600
INTEL: Final = SimulatedIntel(b"fuzz", at=AT)
MINTED: Final = {
    kind: INTEL.mint(IntelCase(kind)) for kind in ("sgx3", "sgx5", "tdx4", "tdx15", "tdx15ex")
}
VERIFIERS: Final[dict[str, Any]] = {
    "s": SgxVerifier((INTEL.anchor,)),
    "t": TdxVerifier((INTEL.anchor,)),
}
KINDS: Final = st.sampled_from(sorted(MINTED))
EXTENSION: Final = read_chain(Quote.from_bytes(MINTED["sgx3"].quote).signature.certification)[
    0
].extensions[SGX_EXTENSION]
_JSON: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 300), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def _spliced(data: st.DataObject, original: bytes) -> bytes:
    """Replace one stretch of good bytes by others."""
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 16)))
    return original[:start] + data.draw(st.binary(max_size=16)) + original[end:]


@given(KINDS, st.data())
def test_a_spliced_quote_is_refused_or_the_same(kind: str, data: st.DataObject) -> None:
    """Whatever is accepted is the quote that was minted, but for zero bytes at its end."""
    minted = MINTED[kind]
    changed = _spliced(data, minted.quote)
    evidence = Evidence(minted.evidence.media_type, changed)
    try:
        VERIFIERS[kind[0]].verify(evidence, minted.endorsements, at=AT)
    except CloisterError:
        return
    assert Quote.from_bytes(changed).to_bytes() == minted.quote


@given(KINDS, st.sampled_from(sorted(MINTED["sgx3"].bundle)), st.data())
def test_a_spliced_bundle_is_refused_or_judged_the_same(
    kind: str, name: str, data: st.DataObject
) -> None:
    """What is not signed in it decides nothing: only the list's issuer chain may change."""
    minted = MINTED[kind]
    changed = _spliced(data, minted.bundle[name].encode()).decode("utf-8", "replace")
    body = json.dumps(dict(minted.bundle) | {name: changed}).encode()
    try:
        VERIFIERS[kind[0]].verify(minted.evidence, (Endorsement(COLLATERAL_TYPE, body),), at=AT)
    except CloisterError:
        return
    same = minted.bundle[name].removesuffix("\n")
    assert (
        changed in {same + end for end in ("", "\n", "\0", "\n\0")}
        or name == "pck_crl_issuer_chain"
    )


@given(st.binary(max_size=512))
def test_bytes_are_malformed_or_read(data: bytes) -> None:
    """Every reader of bytes."""
    for reader in (
        Quote.from_bytes,
        TdReport.from_bytes,
        LoggedQuote.from_bytes,
        read_chain,
        read_collateral,
        read_tcb_info,
        read_qe_identity,
        elements,
    ):
        with contextlib.suppress(MalformedError):
            reader(data)


@given(st.data())
def test_a_spliced_extension_has_the_form_or_not(data: st.DataObject) -> None:
    """`PckExtension.of` turns these into our error."""
    with contextlib.suppress(MalformedError, KeyError, ValueError):
        found = read_extension(_spliced(data, EXTENSION))
        assert len(found.components) == 16


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
@given(data=st.data())
def test_statements_with_other_members_are_malformed_or_read(
    name: str, data: st.DataObject
) -> None:
    """Any member may be anything."""
    statement = json.loads(MINTED["tdx4"].bundle[name])
    member = data.draw(st.sampled_from(sorted(statement)))
    text = json.dumps(statement | {member: data.draw(_JSON)}).encode()
    reader: Any = read_tcb_info if name == "tcb_info" else read_qe_identity
    with contextlib.suppress(MalformedError):
        reader(text)


@given(st.sampled_from(["ccel", "dstack"]), st.binary(max_size=512))
def test_logs_are_malformed_or_replayed(form: str, log: bytes) -> None:
    """Both formats, from anything."""
    with contextlib.suppress(MalformedError):
        assert len(replay(read_log(form, log))) == 4


@given(st.lists(st.dictionaries(st.sampled_from(["imr", "event", "digest"]), _JSON), max_size=3))
def test_json_logs_are_malformed_or_replayed(entries: list[dict[str, object]]) -> None:
    """The format of dstack with anything in it."""
    with contextlib.suppress(MalformedError):
        replay(read_log("dstack", json.dumps(entries).encode()))
