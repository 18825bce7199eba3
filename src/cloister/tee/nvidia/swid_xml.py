"""The XML of NVIDIA's reference integrity manifests: read strictly, and written canonically.

Not an XML library. A document is printable ASCII without `&`, `<!` and `<?`, so that entities,
document types, comments, processing instructions and CDATA cannot exist; the standard library's
expat splits it into elements. For such documents canonical XML 1.1 (W3C, 2 May 2008) comes to:
sorted namespaces and attributes, start and end tags for empty elements, and three escapes.

Spec: nvidia-evidence-v1, clauses NV-20 to NV-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from cloister.errors import MalformedError

__all__ = ["MAX_XML_BYTES", "Element", "canonical", "read_xml"]

MAX_XML_BYTES: Final = 131072
_MAX_DEPTH: Final = 8
_MAX_ELEMENTS: Final = 1024
_MAX_NAMESPACES: Final = 16
_XML: Final = "http://www.w3.org/XML/1998/namespace"
# Anything but printable ASCII and line feeds, a reference, a declaration, or an instruction.
_FORBIDDEN: Final = re.compile(rb"[^\n\x20-\x7e]|&|<!|<\?")
_SEPARATOR: Final = "\n"


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        uri: Its namespace.
        name: Its local name.
        prefix: As the document writes it; empty for the default namespace.
        attributes: Namespace and local name to value.
        prefixes: Prefix of each attribute's namespace, as the document writes it.
        namespaces: Prefix to namespace, where they are declared on this element.
        children: Elements and texts, in order.
    """

    uri: str
    name: str
    prefix: str
    attributes: dict[tuple[str, str], str] = field(default_factory=dict)
    prefixes: dict[tuple[str, str], str] = field(default_factory=dict)
    namespaces: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    @property
    def elements(self) -> list[Element]:
        """The children that are elements, where all else is white space.

        Raises:
            MalformedError: There is text beside them.
        """
        if any(isinstance(child, str) and child.strip(" \n") for child in self.children):
            raise _malformed(f"has text in {self.name}")
        return [child for child in self.children if isinstance(child, Element)]

    @property
    def text(self) -> str:
        """The text, where nothing else is in it.

        Raises:
            MalformedError: There are elements in it.
        """
        texts = [child for child in self.children if isinstance(child, str)]
        if len(texts) != len(self.children):
            raise _malformed(f"has elements in {self.name}")
        return "".join(texts)


def read_xml(data: bytes) -> Element:
    """Read untrusted bytes.

    Raises:
        MalformedError: They are no document of the kind above (`endorsement.malformed`).
    """
    if len(data) > MAX_XML_BYTES:
        raise _malformed("is too long")
    if _FORBIDDEN.search(data):
        raise _malformed("is not plain ASCII without declarations and entities")
    builder = _Builder()
    parser = expat.ParserCreate("UTF-8", _SEPARATOR)
    parser.namespace_prefixes = True
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartNamespaceDeclHandler = builder.namespace
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    try:
        parser.Parse(data, True)  # noqa: FBT003  # "this is all": expat's interface
    except expat.ExpatError as e:
        raise _malformed("is not well-formed") from e
    if builder.root is None:
        raise _malformed("is empty")
    return builder.root


def canonical(element: Element, *, inherited: Mapping[str, str], without: Element | None) -> bytes:
    """Return an element's canonical bytes.

    Args:
        element: The outermost element of what is written.
        inherited: Namespaces that are declared above it, by prefix.
        without: An element below it that is left out with all that it contains.
    """
    out: list[str] = []
    _write(element, dict(inherited), {}, without, out)
    return "".join(out).encode("ascii")


class _Builder:
    """Takes expat's events, within limits."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._declared: dict[str, str] = {}
        self._count = 0
        self._namespaces = 0

    def namespace(self, prefix: str | None, uri: str | None) -> None:
        if not uri or prefix == "xml" or uri == _XML:
            raise _malformed("takes a namespace back, or declares XML's own")
        self._namespaces += 1
        if self._namespaces > _MAX_NAMESPACES:
            raise _malformed("has too many namespaces")
        self._declared[prefix or ""] = uri

    def start(self, name: str, attributes: list[str]) -> None:
        self._count += 1
        if self._count > _MAX_ELEMENTS or len(self._open) >= _MAX_DEPTH:
            raise _malformed("has too many elements, or too deep ones")
        element = Element(*_split(name), namespaces=self._declared)
        self._declared = {}
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            uri, local, prefix = _split(key)
            if uri == _XML:
                raise _malformed("has an attribute of XML's own")
            element.attributes[uri, local] = value
            element.prefixes[uri, local] = prefix
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        self._open[-1].children.append(text)


def _split(name: str) -> tuple[str, str, str]:
    """Take apart what expat joins: namespace, local name, prefix; or the local name alone."""
    parts = name.split(_SEPARATOR)
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""  # noqa: PLR2004  # uri, name, prefix


def _write(
    element: Element,
    scope: dict[str, str],
    written: dict[str, str],
    without: Element | None,
    out: list[str],
) -> None:
    scope = scope | element.namespaces
    new = {prefix: uri for prefix, uri in scope.items() if written.get(prefix) != uri}
    written = written | new
    tag = _qualified(element.prefix, element.name)
    out.append(f"<{tag}")
    for prefix in sorted(new):
        name = f"xmlns:{prefix}" if prefix else "xmlns"
        out.append(f' {name}="{_value(new[prefix])}"')
    for key in sorted(element.attributes):
        name = _qualified(element.prefixes[key], key[1])
        out.append(f' {name}="{_value(element.attributes[key])}"')
    out.append(">")
    for child in element.children:
        if isinstance(child, str):
            out.append(child.replace(">", "&gt;"))
        elif child is not without:
            _write(child, scope, written, without, out)
    out.append(f"</{tag}>")


def _qualified(prefix: str, name: str) -> str:
    return f"{prefix}:{name}" if prefix else name


def _value(text: str) -> str:
    return text.replace('"', "&quot;")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"a reference integrity manifest {problem}", code="endorsement.malformed")
