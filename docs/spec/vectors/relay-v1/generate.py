"""Write the vectors of relay-v1. Running it again changes nothing.

An implementation of its own, from the page.
"""

import json
from pathlib import Path

END, ABORT = b"\0\0\0\0", b"\xff\xff\xff\xff"


WRITTEN: dict[str, str] = {}


def frame(data: bytes) -> bytes:
    """A length and its bytes."""
    return len(data).to_bytes(4, "big") + data


def write(name: str, clause: str, comment: str, **case: object) -> None:
    """Keep one vector."""
    kind = name.partition("-")[0]
    whole = {"clause": clause, "kind": kind, "comment": comment} | case
    WRITTEN[f"{name}.json"] = json.dumps(whole, indent=2) + "\n"


def small() -> None:
    """Greetings, answers and names of instances."""
    bad = "message.malformed"
    for name, clause, message, comment, outcome in (
        ("ok", "RLY-10", "010008ae", "Port 2222.", {"outcome": "ok", "port": 2222}),
        ("ok-highest", "RLY-10", "0100ffff", "Port 65535.", {"outcome": "ok", "port": 65535}),
        ("version-2", "RLY-10", "020008ae", "Another version.", {"outcome": bad}),
        ("not-zero", "RLY-10", "010108ae", "The second byte is 0.", {"outcome": bad}),
        ("short", "RLY-10", "010008", "Three bytes.", {"outcome": bad}),
        ("more", "RLY-13", "010008ae00", "Something behind it.", {"outcome": bad}),
        ("port-0", "RLY-11", "01000000", "No port is 0.", {"outcome": bad}),
    ):
        write(f"greeting-{name}", clause, comment, message=message, **outcome)
    for name, message, comment, outcome in (
        ("ok", "01000000", "Accepted.", {"outcome": "ok", "code": 0}),
        ("ok-not-there", "01010000", "Nobody listens.", {"outcome": "ok", "code": 1}),
        ("ok-refused", "01020000", "Not allowed.", {"outcome": "ok", "code": 2}),
        ("ok-busy", "01030000", "Too many.", {"outcome": "ok", "code": 3}),
        ("code-4", "01040000", "No such code.", {"outcome": bad}),
        ("version-2", "02000000", "Another version.", {"outcome": bad}),
        ("not-zero", "01000001", "The last two bytes are 0.", {"outcome": bad}),
        ("short", "010000", "Three bytes.", {"outcome": bad}),
    ):
        write(f"answer-{name}", "RLY-12", comment, message=message, **outcome)
    for name, instance, index, comment in (
        ("ok", "7.00aa11bb", 7, "The usual."),
        ("ok-first", "0.00aa11bb", 0, "Index 0."),
        ("ok-last", "999.00aa11bb", 999, "The last index."),
        ("1000", "1000.00aa11bb", None, "Beyond the last."),
        ("zero-before", "07.00aa11bb", None, "A leading zero."),
        ("minus", "-1.00aa11bb", None, "No number."),
        ("capitals", "7.00AA11BB", None, "Random in capitals."),
        ("short", "7.00aa11b", None, "Too little random."),
        ("bare", "7", None, "No random."),
        ("run", "run-7", None, "As roles without a network are called."),
    ):
        outcome = {"outcome": "identity.peer"} if index is None else {"outcome": "ok"}
        more = {} if index is None else {"index": index}
        write(f"instance-{name}", "RLY-4", comment, instance=instance, **outcome, **more)


def frames() -> None:
    """One direction, in pieces: what it carries, and how it stands after them."""
    bad = "message.malformed"
    big = frame(b"x" * 1_048_576)
    for name, clause, pieces, comment, outcome in (
        ("ok", "RLY-20", [frame(b"hello")], "One frame.", ("hello", "open")),
        ("ok-two", "RLY-20", [frame(b"hel") + frame(b"lo")], "Two at once.", ("hello", "open")),
        (
            "ok-pieces",
            "RLY-20",
            [b"\0", b"\0\0", b"\x05h", b"ell", b"o\0\0", b"\0", b"\x01!"],
            "Cut anywhere.",
            ("hello!", "open"),
        ),
        ("ok-largest", "RLY-20", [big[:1000], big[1000:]], "1 MiB.", ("x" * 1_048_576, "open")),
        ("too-large", "RLY-20", [b"\x00\x10\x00\x01"], "One byte more than 1 MiB.", None),
        ("ok-end", "RLY-21", [frame(b"bye") + END], "It ends.", ("bye", "ended")),
        ("ok-nothing", "RLY-21", [END], "It ends before it began.", ("", "ended")),
        ("ok-open", "RLY-24", [frame(b"bye")], "Cut here, it is a reset.", ("bye", "open")),
        ("behind-end", "RLY-22", [END + frame(b"x")], "A frame behind the end.", None),
        ("end-twice", "RLY-22", [END, END], "Two ends.", None),
        ("ok-abort", "RLY-23", [frame(b"half") + ABORT], "Reset.", ("half", "aborted")),
        ("ok-abort-late", "RLY-22", [END, ABORT], "Reset behind the end.", ("", "aborted")),
        ("ok-abort-pieces", "RLY-23", [b"\xff\xff", b"\xff\xff"], "In two.", ("", "aborted")),
    ):
        case: dict[str, object] = {"outcome": bad}
        if outcome is not None:
            text, mark = outcome
            # What is long is told by its length, and is made of one letter.
            shown = {"data": text} if len(text) < 100 else {"letter": text[0], "length": len(text)}
            case = {"outcome": "ok", "mark": mark} | shown
        if sum(map(len, pieces)) > 1000:
            case["pieces"] = [{"hex": big[:4].hex()}, {"letter": "x", "length": 1_048_576}]
        else:
            case["pieces"] = [{"hex": piece.hex()} for piece in pieces]
        write(f"frames-{name}", clause, comment, **case)


def main(folder: Path) -> None:
    """Write all of them."""
    small()
    frames()
    for name, text in WRITTEN.items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(__file__).parent)
