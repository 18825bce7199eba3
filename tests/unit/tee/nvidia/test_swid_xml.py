"""The XML of manifests: what is read, and its canonical form."""

import pytest

from cloister.errors import MalformedError
from cloister.tee.nvidia.swid_xml import MAX_XML_BYTES, Element, canonical, read_xml


def form(text: str) -> str:
    """Read and write a document."""
    return canonical(read_xml(text.encode()), inherited={}, without=None).decode()


@pytest.mark.spec("NV-20")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<a/>", "<a></a>"),
        ("\n<a />\n\n", "<a></a>"),
        ("<a b='1'  a=\"2\"/>", '<a a="2" b="1"></a>'),
        ("<a b='\"'/>", '<a b="&quot;"></a>'),
        ("<a>x > y</a>", "<a>x &gt; y</a>"),
        ("<a b='x\ny > z'/>", '<a b="x y > z"></a>'),
        ("<a> <b/>\n</a>", "<a> <b></b>\n</a>"),
        # Namespaces sort by prefix, attributes by namespace and then by name; no namespace first.
        (
            '<p:a q:z="1" p:z="2" a="3" xmlns:q="urn:a" xmlns:p="urn:b" xmlns="urn:c"/>',
            '<p:a xmlns="urn:c" xmlns:p="urn:b" xmlns:q="urn:a" a="3" q:z="1" p:z="2"></p:a>',
        ),
        # What is declared again with the same meaning is not written again; a new meaning is.
        (
            '<a xmlns="urn:a"><b xmlns="urn:a"/><b xmlns="urn:b"/></a>',
            '<a xmlns="urn:a"><b></b><b xmlns="urn:b"></b></a>',
        ),
    ],
)
def test_canonical_form(text: str, wanted: str) -> None:
    """Canonical XML 1.1 of what can be read."""
    assert form(text) == wanted
    assert form(wanted.replace("&quot;", "'").replace("&gt;", ">")).count("<") == wanted.count("<")


@pytest.mark.spec("NV-20", "NV-24")
def test_a_part_has_the_namespaces_of_what_is_above_it() -> None:
    """Inclusive canonicalisation: a part alone declares all that is in scope, once."""
    root = read_xml(b'<a xmlns="urn:a" xmlns:p="urn:p"><p:b><c/></p:b></a>')
    (part,) = root.elements
    assert (
        canonical(part, inherited=root.namespaces, without=None)
        == b'<p:b xmlns="urn:a" xmlns:p="urn:p"><c></c></p:b>'
    )
    assert canonical(root, inherited={}, without=part) == b'<a xmlns="urn:a" xmlns:p="urn:p"></a>'


@pytest.mark.spec("NV-20")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a x='1' x='2'/>",
        "<p:a/>",
        "<a>&lt;</a>",
        "<a b='&#10;'/>",
        "<?xml version='1.0'?><a/>",
        "<!DOCTYPE a [<!ENTITY e 'x'>]><a/>",
        "<!DOCTYPE a SYSTEM 'http://127.0.0.1/'><a/>",
        "<a><!-- b --></a>",
        "<a><![CDATA[b]]></a>",
        "<a><?b?></a>",
        "<a>\t</a>",
        "<a>\r\n</a>",
        "<a>\x00</a>",
        "<a>ä</a>",
        "\ufeff<a/>",
        "<a xmlns='urn:a'><b xmlns=''/></a>",
        "<a xml:base='x'/>",
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a>" * 9 + "</a>" * 9,
        "<a>" + "<b/>" * 1024 + "</a>",
        "<a " + " ".join(f"xmlns:p{n}='urn:{n}'" for n in range(17)) + "/>",
        "<a>" + " " * MAX_XML_BYTES + "</a>",
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    """What manifests do not have is not read: no entities, declarations, comments, depth."""
    with pytest.raises(MalformedError) as caught:
        read_xml(text.encode())
    assert caught.value.code == "endorsement.malformed"


@pytest.mark.spec("NV-20")
def test_other_encodings_are_malformed() -> None:
    """The bytes are looked at before anybody guesses an encoding."""
    for encoding in ("utf-16", "utf-8-sig", "latin-1"):
        with pytest.raises(MalformedError):
            read_xml("<a>ä</a>".encode(encoding))


def test_text_and_elements_do_not_mix() -> None:
    """Content is elements with white space between them, or text."""
    mixed = Element("", "a", "", children=["x", Element("", "b", "")])
    with pytest.raises(MalformedError):
        _ = mixed.elements
    with pytest.raises(MalformedError):
        _ = mixed.text
