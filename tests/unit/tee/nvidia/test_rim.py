"""Manifests: one form of XML signature, and what is read is what was signed."""

import base64
import re
from dataclasses import replace

import pytest

from cloister.errors import CloisterError, MalformedError
from cloister.tee.nvidia.rim import Resource, Rim, RimContent
from cloister.testing.manufacturers.nvidia import SimulatedNvidia

MAKER = SimulatedNvidia("rim", at=1_800_000_000)
CONTENT = MAKER.rim_content(MAKER.gpu("HOPPER"), "driver")
TEXT = MAKER.rim(CONTENT).body.decode()
DSIG = "http://www.w3.org/2000/09/xmldsig#"


def code_of(text: str) -> str:
    """Read a manifest and check who signed it."""
    try:
        Rim.from_xml(text.encode()).require_signed()
    except CloisterError as e:
        return e.code
    return "ok"


@pytest.mark.spec("NV-21", "NV-22", "NV-23", "NV-24")
def test_what_was_signed_is_read() -> None:
    """Content, signer and signature round trip."""
    rim = Rim.from_xml(TEXT.encode())
    rim.require_signed()
    assert rim.content == CONTENT
    assert rim.signed == Rim.to_be_signed(CONTENT)
    assert rim.path[-1].fingerprint == MAKER.anchors[1]
    assert set(rim.content.active) == set(range(12, 40))


@pytest.mark.spec("NV-22")
def test_many_alternatives_keep_their_order() -> None:
    """`Hash10` sorts before `Hash2` in canonical XML, and not in what is read."""
    hashes = tuple(bytes([n]) * 48 for n in range(12))
    content = replace(CONTENT, resources=(Resource(0, active=True, hashes=hashes),))
    rim = Rim.from_xml(MAKER.rim(content).body)
    rim.require_signed()
    assert rim.content.resources[0].hashes == hashes


@pytest.mark.spec("NV-20", "NV-24")
def test_layout_of_the_text_is_not_what_is_signed() -> None:
    """Empty tags, quotes, order of attributes and line breaks in base64 are free."""
    other = TEXT.replace("></ns0:Resource>", "/>").replace('active="True"', "active='True'")
    other = re.sub(r'(<ds:Reference) (URI="")', r"\1   \2", other)
    other = re.sub(
        r"(<ds:X509Certificate>)([^<]+)",
        lambda m: m[1] + "\n".join(re.findall(".{1,64}", m[2])) + "\n",
        other,
    )
    assert other != TEXT
    assert code_of(other) == "ok"


@pytest.mark.spec("NV-24")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('active="True"', 'active="False"'),
        ('index="12"', 'index="63"'),
        ("590.48.01", "590.48.02"),
        ('tagVersion="0"', 'tagVersion="1"'),
        ("<ns0:Payload>", "<ns0:Payload> "),
        ('name="NVIDIA Corporation"', 'name="NVIDIA"'),
    ],
)
def test_altered_manifests_are_refused(old: str, new: str) -> None:
    """Any change of the document breaks the digest; nothing outside it is read."""
    changed = TEXT.replace(old, new, 1)
    if "index" in old:
        changed = TEXT.replace('index="63"', 'index="99"').replace(old, new, 1)
    assert code_of(changed) == "endorsement.signature"


@pytest.mark.spec("NV-24")
def test_a_new_digest_needs_a_new_signature() -> None:
    """Whoever alters document and digest still has no key."""
    altered = replace(CONTENT, version="590.48.02")
    signature = Rim.from_xml(TEXT.encode()).signature
    forged = Rim.assemble(altered, signature, Rim.from_xml(TEXT.encode()).path)
    assert code_of(forged.decode()) == "endorsement.signature"


@pytest.mark.spec("NV-23")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Another algorithm, or one more or less.
        ("xmldsig-more#ecdsa-sha384", "xmldsig-more#ecdsa-sha256"),
        ("xmldsig-more#ecdsa-sha384", "xmldsig-more#hmac-sha384"),
        ("xmldsig-more#sha384", "xmlenc#sha256"),
        ("2006/12/xml-c14n11", "2001/10/xml-exc-c14n#"),
        ("#enveloped-signature", "#base64"),
        (f'<ds:Transform Algorithm="{DSIG}enveloped-signature"></ds:Transform>', ""),
        (
            "</ds:Transforms>",
            '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/></ds:Transforms>',
        ),
        # Wrapping: the reference points elsewhere, or there are two.
        ('URI=""', 'URI="#payload"'),
        ('URI=""', 'URI="http://127.0.0.1/"'),
        ('URI=""', 'URI="" Type="x"'),
        ("</ds:SignedInfo>", '<ds:Reference URI=""/></ds:SignedInfo>'),
        ("</ds:Signature>", "<ds:Object/></ds:Signature>"),
        ("</ds:Signature>", "</ds:Signature><ns0:Payload/>"),
        ("</ns0:Payload>", "</ns0:Payload><ns0:Payload/>"),
        # Another key than the certificate's.
        ("<ds:X509Data>", "<ds:KeyValue/><ds:X509Data>"),
        ("<ds:KeyInfo>", '<ds:KeyInfo Id="x">'),
        ("<ds:X509Data>", "<ds:X509Data><ds:X509SubjectName>x</ds:X509SubjectName>"),
        # Other content than measurements of this form.
        ('type="Measurement"', 'type="OpaqueData"'),
        ('size="48"', 'size="32"'),
        ('alternatives="2"', 'alternatives="1"'),
        ('alternatives="2"', 'alternatives="0"'),
        ('active="False"', 'active="maybe"'),
        ('index="0"', 'index="1"'),
        ('index="0"', 'index="00"'),
        ('index="0"', 'index="999"'),
        ('PayloadType="direct"', 'PayloadType="indirect"'),
        ('name="GH100"', 'name="GB100"'),
        ('product="GH100"', 'product="gh 100"'),
        ("ns2:Hash1", "ns2:Hash2"),
        ("<ds:SignatureValue>", "<ds:SignatureValue>A"),
        ("<ds:DigestValue>", "<ds:DigestValue>AAAA"),
        ("<ds:SignatureValue>", "<ds:SignatureValue><b/>"),
        (DSIG, "urn:other"),
    ],
)
def test_other_forms_are_malformed(old: str, new: str) -> None:
    """There is one form; nothing in a manifest chooses how it is verified."""
    assert old in TEXT
    assert code_of(TEXT.replace(old, new, 1)) == "endorsement.malformed"


@pytest.mark.spec("NV-22")
def test_a_manifest_that_compares_nothing_is_malformed() -> None:
    """An empty manifest would match everything."""
    resources = tuple(replace(each, active=False) for each in CONTENT.resources)
    for content in (replace(CONTENT, resources=resources), replace(CONTENT, resources=())):
        with pytest.raises(MalformedError) as caught:
            Rim.from_xml(MAKER.rim(content).body)
        assert caught.value.code == "endorsement.malformed"


@pytest.mark.spec("NV-23")
def test_certificates_are_certificates() -> None:
    """What is in their place is read as one, or refused."""
    wrong = base64.b64encode(b"no certificate").decode()
    changed = re.sub(r"(<ds:X509Certificate>)[^<]+", r"\g<1>" + wrong, TEXT, count=1)
    assert code_of(changed) == "certificate.malformed"
    none = re.sub(r"<ds:X509Data>.*</ds:X509Data>", "<ds:X509Data></ds:X509Data>", TEXT)
    assert code_of(none) == "endorsement.malformed"


def test_content_is_frozen() -> None:
    """A content is a value."""
    assert RimContent("GH100", "1", "t", ()) == RimContent("GH100", "1", "t", ())
