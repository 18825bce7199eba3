"""Write the vectors of tdx-launch-v1 beside this file; a second run changes nothing.

Uses hashlib and struct alone, nothing of the package: images are made, and their measurement is
computed, from the page. An image is told as its size and the pieces in it that are not zero.
"""

import hashlib
import json
import struct
import uuid
from pathlib import Path

HERE = Path(__file__).parent
FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"
METADATA = "e47a6535-984a-4798-865e-4685a7bf8ec2"
OTHER = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
BAD = "firmware.malformed"
SIZE = 16384

Section = tuple[int, int, int, int, int, int]
BFV: Section = (0, 4096, 0xFFFFF000, 4096, 0, 1)
TWO: Section = (4096, 8192, 0xFFFFC000, 8192, 0, 1)
CFV: Section = (4096, 4096, 0xFFFFE000, 4096, 1, 0)
HOB: Section = (0, 0, 0x809000, 8192, 2, 0)
TEMP: Section = (0, 0, 0x810000, 12288, 3, 0)
LATER: Section = (0, 0, 0x900000, 8192, 4, 2)


def entry(name: str, data: bytes) -> bytes:
    """Return an entry of the table at the end: its data, its length, its name."""
    return data + struct.pack("<H", len(data) + 18) + uuid.UUID(name).bytes_le


def descriptor(sections: list[Section], **other: object) -> bytes:
    """Return the metadata."""
    head = {
        "signature": b"TDVF",
        "length": 16 + 32 * len(sections),
        "version": 1,
        "count": len(sections),
    } | other
    packed = struct.pack("<4sIII", *head.values())
    return packed + b"".join(struct.pack("<IIQQII", *section) for section in sections)


def image(sections: list[Section], *, table: bytes | None = None, **other: object) -> bytearray:
    """Return an image with content, metadata at 12288, and a table at its end."""
    data = bytearray(SIZE)
    for at in range(0, 12288, 256):
        data[at : at + 4] = struct.pack("<I", at + 1)
    found = descriptor(sections, **other)
    data[12288 : 12288 + len(found)] = found
    if table is None:
        table = entry(METADATA, struct.pack("<I", SIZE - 12288))
    table += struct.pack("<H", len(table) + 18) + uuid.UUID(FOOTER).bytes_le
    data[SIZE - 32 - len(table) : SIZE - 32] = table
    return data


def call(name: str, address: int) -> bytes:
    """Return the buffer that one call extends."""
    buffer = bytearray(128)
    buffer[: len(name)] = name.encode()
    buffer[16:24] = address.to_bytes(8, "little")
    return bytes(buffer)


def mrtd(data: bytes, sections: list[Section], order: str) -> str:
    """Write down all calls of a launch, and digest them."""
    calls = []
    for offset, _, address, size, _, attributes in sections:
        adds, extends = [], []
        for page in range(size // 4096):
            at = page * 4096
            if not attributes & 2:
                adds.append((page, call("MEM.PAGE.ADD", address + at)))
            if attributes & 1:
                for chunk in range(at, at + 4096, 256):
                    content = data[offset + chunk : offset + chunk + 256]
                    extends.append((page, call("MR.EXTEND", address + chunk) + content))
        both = adds + extends
        # A stable sort by page puts a page's addition before its measurement.
        calls += both if order == "section" else sorted(both, key=lambda each: each[0])
    return hashlib.sha384(b"".join(each for _, each in calls)).hexdigest()


def pieces(data: bytes) -> list[list[object]]:
    """Return what is not zero, in runs of 16 bytes."""
    found: list[list[object]] = []
    for at in range(0, len(data), 16):
        row = bytes(data[at : at + 16])
        if not any(row):
            continue
        if found and int(str(found[-1][0])) + len(str(found[-1][1])) // 2 == at:
            found[-1][1] = str(found[-1][1]) + row.hex()
        else:
            found.append([at, row.hex()])
    return found


def vector(name: str, clause: str, comment: str, data: bytes, sections: object) -> None:
    """Write one case; without sections it is refused."""
    case: dict[str, object] = {"comment": comment, "clause": clause, "size": len(data)}
    case["pieces"] = pieces(data)
    case["expect"] = BAD
    if isinstance(sections, list):
        case["expect"] = "ok"
        case["mrtd"] = {order: mrtd(data, sections, order) for order in ("page", "section")}
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", "utf-8")


def good(name: str, clause: str, comment: str, sections: list[Section], **other: object) -> None:
    """Write a case that is measured."""
    data = bytes(image(sections, **other))  # type: ignore[arg-type]  # the words of `image`
    vector(name, clause, comment, data, sections)


def bad(name: str, clause: str, comment: str, sections: list[Section], **other: object) -> None:
    """Write a case that is refused."""
    data = bytes(image(sections, **other))  # type: ignore[arg-type]  # the words of `image`
    vector(name, clause, comment, data, None)


def changed(section: Section, place: int, value: int) -> Section:
    """Return a section with another value at one place."""
    parts = list(section)
    parts[place] = value
    return tuple(parts)  # type: ignore[return-value]  # as long as before


good("one-page", "TDL-10", "the worked example", [BFV])
good("all-kinds", "TDL-10", "as OVMF has it", [TWO, TEMP, HOB])
good("two-pages", "TDL-12", "the order of pages and measurements differs", [TWO])
good("not-measured", "TDL-11", "variables are added and not measured", [BFV, CFV])
good("added-later", "TDL-11", "memory that is added after the launch leaves no trace", [BFV, LATER])
good("order", "TDL-10", "sections count in the order of the table", [TEMP, BFV])
good(
    "more-entries", "TDL-2", "other entries stand around the one that is looked for", [BFV],
    table=entry(OTHER, b"1") + entry(METADATA, struct.pack("<I", 4096)) + entry(OTHER, bytes(9)),
)  # fmt: skip

data = image([BFV])
data[-48] ^= 1
vector("no-table", "TDL-2", "another name before the reset vector", data, None)
vector("short", "TDL-2", "no room for a table", bytes(49), None)
vector("empty", "TDL-2", "nothing", b"", None)
bad("no-entry", "TDL-2", "the table has other entries only", [BFV], table=entry(OTHER, b"1"))
bad("entry-zero", "TDL-2", "an entry of length 0 goes on for ever", [BFV], table=bytes(18))
bad("entry-long", "TDL-2", "an entry is longer than the table", [BFV],
    table=b"\xff\x00" + uuid.UUID(OTHER).bytes_le)  # fmt: skip
bad("entry-cut", "TDL-2", "the table begins within an entry", [BFV], table=bytes(5))
bad("offset-length", "TDL-3", "the place of the metadata has 8 bytes", [BFV],
    table=entry(METADATA, struct.pack("<Q", 4096)))  # fmt: skip
bad("offset-outside", "TDL-3", "the metadata is before the file", [BFV],
    table=entry(METADATA, struct.pack("<I", SIZE + 1)))  # fmt: skip
bad("offset-end", "TDL-3", "the metadata is behind the file", [BFV],
    table=entry(METADATA, struct.pack("<I", 8)))  # fmt: skip
bad("signature", "TDL-3", "another signature", [BFV], signature=b"TDVG")
bad("version", "TDL-3", "version 2", [BFV], version=2)
bad("count-zero", "TDL-3", "no section", [], count=0)
bad("count-many", "TDL-3", "more sections than allowed", [BFV], count=65, length=16 + 65 * 32)
bad("length", "TDL-3", "a length that is not that of the sections", [BFV], length=49)
data = image([BFV], table=entry(METADATA, struct.pack("<I", 200)))
data[SIZE - 200 : SIZE - 184] = descriptor([], count=40, length=16 + 40 * 32)
vector("cut-off", "TDL-3", "the sections go beyond the file", data, None)
bad("kind", "TDL-4", "a kind that is not known", [BFV, changed(TEMP, 4, 5)])
bad("attribute", "TDL-4", "an attribute that is not known", [changed(BFV, 5, 5)])
bad("address", "TDL-5", "an address within a page", [changed(BFV, 2, 0xFFFFF100)])
bad("part-of-a-page", "TDL-5", "memory that is no whole number of pages", [
    BFV, changed(TEMP, 3, 4097)])  # fmt: skip
bad("no-memory", "TDL-5", "a section without memory", [BFV, changed(TEMP, 3, 0)])
bad("too-high", "TDL-5", "an address that no processor has", [BFV, changed(TEMP, 2, 1 << 52)])
bad("wraps", "TDL-5", "memory that goes around", [BFV, changed(TEMP, 2, 2**64 - 8192)])
bad("beyond-the-file", "TDL-6", "content that the file does not have", [changed(BFV, 0, SIZE)])
bad("more-content", "TDL-6", "more content than memory", [BFV, changed(CFV, 1, 8192)])
bad("memory-with-content", "TDL-6", "temporary memory with content", [BFV, changed(TEMP, 1, 16)])
bad("firmware-without", "TDL-6", "variables without content", [BFV, changed(CFV, 1, 0)])
bad("not-filled", "TDL-7", "what is measured is not filled by the file", [changed(BFV, 1, 4095)])
bad("measured-later", "TDL-7", "measured, and not there", [changed(BFV, 5, 3)])
bad("nothing-measured", "TDL-8", "no boot firmware is measured", [changed(BFV, 5, 0)])
bad("overlap", "TDL-8", "two sections at one place", [BFV, changed(CFV, 2, 0xFFFFF000)])
bad("too-many-pages", "TDL-9", "more work than is done", [BFV, changed(TEMP, 3, 16384 * 4096)])
