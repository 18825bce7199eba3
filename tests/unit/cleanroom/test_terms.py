"""Terms: what is said of bad ones, and that nobody makes some by hand that are refused."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from cloister.cleanroom.agreement import (
    MAX_SIGNED_BYTES,
    Offer,
    SignedTerms,
    load_room,
    sign_terms,
)
from cloister.cleanroom.draft import Facts, draft_terms
from cloister.cleanroom.remarks import remarks
from cloister.cleanroom.room_policy import closing_policy_of, policy_of
from cloister.cleanroom.terms import Parties, Shard
from cloister.cleanroom.terms_text import (
    parse_terms,
    terms_bytes,
    terms_digest,
    terms_to_text,
    terms_tree,
)
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, MalformedError
from cloister.testing.cleanroom import (
    DATA_OWNER,
    MODEL_OWNER,
    PRINCIPAL,
    sample_agreement,
    sample_terms,
    sample_text,
)

EVE = SigningKey(b"e" * 32)


@pytest.mark.spec("CT-2")
def test_every_problem_is_told_at_once_with_its_line() -> None:
    """Three mistakes, each by its line and path."""
    text = sample_text(rounds="0", who="nobody").replace("canaries", "canarys")
    with pytest.raises(MalformedError) as caught:
        parse_terms(text.encode(), source="terms.yaml")
    detail = str(caught.value.detail)
    assert caught.value.code == "terms.invalid"
    assert caught.value.public.startswith("terms.yaml: line ")
    for path in ("training.rounds", "canarys", "close.who"):
        assert path in detail
    assert "did you mean 'canaries'?" in detail


def test_a_text_that_is_no_utf_8_is_malformed() -> None:
    """Before anything of it is looked at."""
    with pytest.raises(MalformedError) as caught:
        parse_terms(b"\xff", source="terms.yaml")
    assert caught.value.code == "terms.malformed"


@pytest.mark.spec("CT-20")
def test_terms_that_no_reader_accepts_have_no_form() -> None:
    """Built by hand: a number that is out of bounds, a contradiction, a decimal too fine."""
    terms = sample_terms()
    training = terms.training
    for bad in (
        dataclasses.replace(terms, canaries=-1),
        dataclasses.replace(terms, training=dataclasses.replace(training, batch=100_000)),
        dataclasses.replace(
            terms, training=dataclasses.replace(training, norm_max=Decimal("0.1234567890123"))
        ),
    ):
        for use in (terms_bytes, terms_digest):
            with pytest.raises(MalformedError) as caught:
                use(bad)
            assert caught.value.code == "terms.invalid"


@pytest.mark.spec("CT-21")
def test_the_digest_follows_what_is_said_and_nothing_else() -> None:
    """Layout leaves it alone; each other fact changes it."""
    digest = terms_digest(sample_terms())
    assert terms_digest(parse_terms(terms_to_text(sample_terms()).encode(), source="x")) == digest
    for fact, value in (
        ("rounds", "21"), ("limit", "101"), ("who", "either"), ("digest", "00" * 32),
        ("privacy", "none"), ("service", "52" * 32),
    ):  # fmt: skip
        assert terms_digest(sample_terms(**{fact: value})) != digest


def test_numbers_are_what_the_text_says() -> None:
    """Decimals exactly; what is left out is None, and says so in the tree."""
    terms = sample_terms(privacy="none")
    assert terms.training.norm_max == 10
    assert terms.queries.stealing.threshold == Decimal("0.9")
    assert (terms.privacy, terms_tree(terms)["privacy"]) == (None, "none")
    assert (terms.trainers, terms.training.ticks) == (2, 100 + 20 * 10 + 20)


@pytest.mark.spec("CT-32", "CT-33")
def test_an_offer_becomes_an_agreement_by_the_other_signature() -> None:
    """In either order, with the same bytes."""
    terms = sample_terms()
    offer = sign_terms(terms, MODEL_OWNER)
    assert (offer.missing, Offer.from_bytes(offer.to_bytes())) == (("data_owner",), offer)
    agreement = sign_terms(terms, DATA_OWNER, before=offer).agreed()
    other = sign_terms(terms, MODEL_OWNER, before=sign_terms(terms, DATA_OWNER)).agreed()
    assert agreement.to_bytes() == other.to_bytes()
    assert agreement.digest == terms_digest(terms)


def test_nobody_signs_what_is_not_his() -> None:
    """A stranger's key, and terms other than those that the first signature is for."""
    offer = sign_terms(sample_terms(), MODEL_OWNER)
    for terms, key in ((sample_terms(), EVE), (sample_terms(limit="7"), DATA_OWNER)):
        with pytest.raises(CloisterError) as caught:
            sign_terms(terms, key, before=offer)
        assert caught.value.code == "config.value"


@pytest.mark.spec("CT-33", "CT-45")
def test_signed_terms_made_by_hand_make_no_policy() -> None:
    """Without a signature, or with another's; both policies."""
    agreement = sample_agreement()
    for signatures in (
        {"model_owner": agreement.signatures["model_owner"]},
        {party: EVE.sign(b"x", b"y") for party in agreement.signatures},
        {},
    ):
        forged = SignedTerms(agreement.terms, signatures)  # type: ignore[arg-type]  # by hand
        for make in (policy_of, closing_policy_of):
            with pytest.raises(CloisterError) as caught:
                make(forged)
            assert caught.value.code == "terms.signature"


def test_a_room_is_loaded_from_its_file(tmp_path: Path) -> None:
    """And refused where the file is missing, too long, or an offer."""
    file = tmp_path / "terms.cbor"
    for data, code in (
        (None, "config.file"),
        (bytes(MAX_SIGNED_BYTES + 1), "terms.malformed"),
        (sign_terms(sample_terms(), MODEL_OWNER).to_bytes(), "terms.signature"),
    ):
        if data is not None:
            file.write_bytes(data)
        with pytest.raises(CloisterError) as caught:
            load_room(file)
        assert caught.value.code == code
    file.write_bytes(sample_agreement().to_bytes())
    room = load_room(file)
    assert room.digest is room.digest  # computed once: every message has it
    assert (room.terms, room.digest) == (sample_terms(), sample_agreement().digest)


@pytest.mark.spec("CT-70")
def test_a_draft_is_terms() -> None:
    """Complete, with comments; facts that make none are refused."""
    facts = Facts(
        name="digits",
        namespace="rooms/digits",
        service="ed25519:" + "51" * 32,
        parties=Parties(model_owner=MODEL_OWNER.public.text, data_owner=DATA_OWNER.public.text),
        anchor="ed25519:" + "a1" * 32,
        launcher="sha256:" + "b2" * 32,
        svn=1,
        runtime="sha256:" + "d4" * 32,
        shards=(Shard(id="d0" * 16, root="sha256:" + "e5" * 32, examples=9),),
        shape=(8, 8),
        classes=10,
        recipe=("c0" * 16, "sha256:" + "e5" * 32, "sha256:" + "f6" * 32),
        model="e0" * 16,
        reports=("f0" * 16, "f1" * 16),
        frameworks=("jax",),
        rounds=5,
        principals={"clinic": PRINCIPAL.public.text},
    )
    text = draft_terms(facts)
    terms = parse_terms(text.encode(), source="draft")
    assert (terms.training.batch, terms.canaries, terms.training.checkpoint_every) == (9, 9, 5)
    assert text.count("#") > 15
    with pytest.raises(MalformedError) as caught:
        draft_terms(dataclasses.replace(facts, frameworks=("jax", "jax")))
    assert caught.value.code == "terms.invalid"


@pytest.mark.spec("CT-71")
def test_owners_are_told_what_terms_leave_open() -> None:
    """Each thing once, and only where it is so."""
    strict = list(remarks(sample_terms(limit="3")))
    assert "the model answers at most 3 queries, 3 of each principal" in strict
    assert "the room can be ended by the data owner alone" in strict
    text = sample_text(privacy="none", who="both")
    for old, new in (
        ("by: trainer", "by: recipe"),
        ("canaries: 10", "canaries: 0"),
        ("accept_missing: []", "accept_missing: [landlock]"),
    ):
        text = text.replace(old, new)
    told = text.replace("[loss, accuracy]", "[exposure]").replace(
        "receipt: none", "receipt: exposure"
    )
    told = told.replace("canaries: 0", "canaries: 10")
    assert any(
        "tells the operator" in each for each in remarks(parse_terms(told.encode(), source="x"))
    )
    open_ends = list(remarks(parse_terms(text.encode(), source="x")))
    assert len(open_ends) == len(strict) + 4
    assert any("landlock" in line for line in open_ends)
