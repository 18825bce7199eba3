# ruff: noqa: D102, D103
"""Write the vectors of volume-v1 beside this script, or into the directory given.

All randomness is a counter's SHA-256, so that running it again changes no byte:

    PYTHONPATH=src python docs/spec/vectors/volume-v1/generate.py
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cloister.volume.content.file
import cloister.volume.journal
import cloister.volume.keys
import cloister.volume.opening
import cloister.volume.seal
from cloister.testing.store import MemoryStore
from cloister.testing.volume import VolumeBench, put, truncate
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.format import NO_ROOT, EntryKind, Superblock, VolumeKind
from cloister.volume.index import Index
from cloister.volume.journal import seal_entry
from cloister.volume.keys import VolumeKeys, make_superblock
from cloister.volume.regions import RegionClass, Regions
from cloister.volume.seal import seal_store
from cloister.volume.tree import VolumeFilesystem

KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))


class Counter:
    """Replaces the kernel's randomness."""

    def __init__(self, seed: str) -> None:
        self.seed, self.count = seed, 0

    def __call__(self, length: int) -> bytes:
        self.count += 1
        return hashlib.sha256(f"{self.seed}/{self.count}".encode()).digest()[:length]


def seed(name: str) -> None:
    counter = Counter(name)
    for module in (
        cloister.volume.content.file,
        cloister.volume.journal,
        cloister.volume.keys,
        cloister.volume.opening,
        cloister.volume.seal,
    ):
        module.random_bytes = counter


def pattern(length: int, step: int = 1) -> bytes:
    return bytes(i * step % 251 for i in range(length))


def new_bench(name: str) -> VolumeBench:
    seed(name)
    bench = VolumeBench(key=KEY)
    bench.create()
    return bench


def fill(fs: VolumeFilesystem) -> None:
    put(fs, b"inline", b"abc")
    put(fs, b"packed", pattern(300))
    put(fs, b"direct", pattern(3000))
    put(fs, b"tree", pattern(20_000, 3))
    put(fs, b"hole", b"x")
    truncate(fs, fs.lookup(ROOT_INO, b"hole").ino, 200_000)
    fs.write(fs.lookup(ROOT_INO, b"hole").ino, 199_000, memoryview(b"end"))
    directory = fs.mkdir(ROOT_INO, b"dir", 0o750, 5, 6).ino
    fs.link(fs.lookup(ROOT_INO, b"inline").ino, directory, b"again")
    fs.symlink(directory, b"link", b"../packed", 0, 0)
    fs.commit()


def history(name: str) -> tuple[VolumeBench, list[MemoryStore]]:
    bench = new_bench(name)
    copies = [bench.store.copy()]
    fs = bench.writer()
    fill(fs)
    copies.append(bench.store.copy())
    fs.rename(ROOT_INO, b"packed", ROOT_INO, b"inline", no_replace=False)
    fs.unlink(ROOT_INO, b"tree")
    put(fs, b"direct", pattern(2000, 7))
    fs.commit()
    copies.append(bench.store.copy())
    fs.close()
    return bench, copies


def journal_of(store: MemoryStore) -> str:
    return next(path for path in store.files if path.startswith("journal/"))


class Writer:
    """Collects cases and writes them."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def case(
        self, name: str, clause: str, comment: str, bench: VolumeBench, expect: str, **more: object
    ) -> None:
        files = {
            path: bytes(data).hex()
            for path, data in sorted(bench.store.files.items())
            if path not in {"reserve", "lock"}
        }
        anchor = bench.holder.current
        content: dict[str, object] = {}
        if expect == "ok":
            bench.crash()
            content = {"content": content_of(bench.reader(), ROOT_INO, "")}
        ring = bench.keys
        keys: dict[str, object] = {"key": bench.key.hex()}
        if ring.epoch > 1:
            numbered = enumerate(ring.keys, start=ring.oldest)
            keys = {"keys": {str(epoch): key.hex() for epoch, key in numbered}}
        regions: dict[str, object] = {}
        if bench.regions.classes:
            named = {path: found.value for path, found in bench.regions.classes.items()}
            regions = {"regions": named}
        case = {
            "comment": comment,
            "clause": clause,
            **keys,
            **regions,
            "anchor": {"version": anchor.version, "root": anchor.root.hex()},
            "files": files,
            "expect": expect,
            **content,
            **more,
        }
        text = json.dumps(case, indent=1, sort_keys=True) + "\n"
        (self.target / f"{name}.json").write_text(text)


def content_of(fs: VolumeFilesystem, ino: int, prefix: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for entry in sorted(fs.list_directory(ino), key=lambda entry: entry.name):
        path = prefix + os.fsdecode(entry.name)
        attributes = fs.attributes(entry.ino)
        item: dict[str, object] = {"mode": attributes.mode, "nlink": attributes.nlink}
        if entry.mode == 0o120000:
            item["target"] = os.fsdecode(fs.readlink(entry.ino))
        elif entry.mode == 0o040000:
            found |= content_of(fs, entry.ino, path + "/")
        else:
            out = bytearray(attributes.size)
            fs.read_into(entry.ino, 0, memoryview(out))
            item |= {"size": attributes.size, "sha256": hashlib.sha256(out).hexdigest()}
        found[path] = item
    return found


def good(write: Writer) -> None:
    bench = new_bench("empty")
    write.case("ok-empty", "VOL-1", "a new, empty, mutable volume", bench, "ok")
    bench, copies = history("history")
    write.case("ok-history", "VOL-30", "two commits over a new volume", bench, "ok")
    bench.store = copies[-1].copy()
    bench.store.files[journal_of(bench.store)] += b"CLE1 torn"
    write.case("ok-torn-tail", "VOL-42", "rest of a torn commit behind the anchored", bench, "ok")
    bench, _ = history("unanchored")
    state = bench.holder.current
    fs = bench.writer()
    put(fs, b"later", b"later")
    fs.close()
    bench.holder.current = state
    write.case("ok-not-anchored-yet", "VOL-42", "readers stop at the anchored entry", bench, "ok")
    seed("sealed")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir(mode=0o755)
        (source / "b.bin").write_bytes(pattern(5000))
        (source / "a").mkdir(mode=0o755)
        (source / "a" / "empty").write_bytes(b"")
        (source / "a" / "to").symlink_to("../b.bin")
        for path in (source / "a" / "empty", source / "b.bin", source / "a", source):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, ns=(0, 10**18))
        os.utime(source / "a" / "to", ns=(0, 10**18), follow_symlinks=False)
        bench = VolumeBench(key=KEY)
        identity = seal_store(source, bench.store, KEY, block_bytes=512, progress=lambda _: None)
    bench.holder.register(version=identity.version, root=identity.root)
    write.case("ok-sealed", "VOL-2", "a sealed directory, with digests", bench, "ok")
    cut_and_flip(write, bench, "sealed")


def cut_and_flip(write: Writer, bench: VolumeBench, name: str) -> None:
    path = next(p for p in bench.store.files if p.startswith("objects/") and "pack" not in p)
    whole = bench.store.files[path]
    bench.store.files[path] = bytearray(whole)
    bench.store.files[path][700] ^= 1
    write.case(f"{name}-data-flipped", "VOL-52", "one bit of data", bench, "volume.tampered")
    swapped = bytearray(whole)
    swapped[:512], swapped[512:1024] = whole[512:1024], whole[:512]
    bench.store.files[path] = swapped
    write.case(f"{name}-data-swapped", "VOL-52", "two blocks exchanged", bench, "volume.tampered")
    bench.store.files[path] = bytearray(whole[:1000])
    write.case(f"{name}-data-cut", "VOL-51", "a backing file cut", bench, "volume.truncated")
    del bench.store.files[path]
    write.case(f"{name}-data-gone", "VOL-51", "a backing file gone", bench, "volume.truncated")
    bench.store.files[path] = whole


def bad_superblocks(write: Writer) -> None:
    for name, offset, value, code in (
        ("magic", 0, 0, "volume.malformed"),
        ("version", 9, 2, "volume.malformed"),
        ("kind", 10, 3, "volume.malformed"),
        ("block-size", 11, 40, "volume.malformed"),
        ("reserved", 12, 1, "volume.malformed"),
        ("id", 16, 0xFF, "volume.foreign"),
        ("mac", 40, 0xFF, "volume.foreign"),
    ):
        bench = new_bench("superblock")
        bench.store.files["superblock"][offset] = value
        write.case(f"superblock-{name}", "VOL-1", f"superblock: {name} changed", bench, code)
    bench = new_bench("superblock")
    del bench.store.files["superblock"][-1]
    write.case("superblock-short", "VOL-1", "63 bytes", bench, "volume.malformed")
    del bench.store.files["superblock"]
    write.case("superblock-gone", "VOL-40", "no superblock", bench, "volume.truncated")
    bench = new_bench("superblock")
    bench.key = OTHER_KEY
    write.case("key-of-another", "VOL-3", "another volume's key", bench, "volume.foreign")


def bad_histories(write: Writer) -> None:
    for number, text in ((0, "as new"), (1, "one commit older")):
        bench, copies = history("older")
        bench.store = copies[number]
        name, clause = f"rolled-back-{number}", "VOL-43"
        write.case(name, clause, f"the whole volume, {text}", bench, "volume.rolled-back")
    bench, _ = history("cut")
    journal = bench.store.files[journal_of(bench.store)]
    whole = bytes(journal)
    del journal[-1]
    write.case("journal-cut", "VOL-43", "last byte of the journal gone", bench, "volume.truncated")
    journal[:] = whole
    journal[-1] ^= 1
    write.case("journal-last-flipped", "VOL-43", "last entry", bench, "volume.tampered")
    journal[:] = whole
    journal[120] ^= 1
    write.case("journal-first-flipped", "VOL-43", "first entry", bench, "volume.tampered")
    bench.store.files[journal_of(bench.store)] = bytearray()
    write.case("journal-empty", "VOL-43", "journal emptied", bench, "volume.truncated")
    del bench.store.files[journal_of(bench.store)]
    write.case("journal-gone", "VOL-43", "journal removed", bench, "volume.truncated")
    bench, _ = history("fork")
    other, _ = history("another fork")
    other.store.files["superblock"] = bench.store.files["superblock"]
    bench.store = other.store
    write.case("another-history", "VOL-43", "another history", bench, "volume.tampered")
    bench, _ = history("segments")
    for number in range(100):
        bench.store.files[f"journal/{number:016x}"] = bytearray(1)
    write.case("journal-crowded", "VOL-21", "too many segments", bench, "volume.malformed")


def bad_indexes(write: Writer) -> None:
    """Entries that somebody with the key made, and that are not an index."""
    base = Index()
    base.make_root(mode=0o755, at_ns=0)
    root = base.full()
    inode = root[1:]
    file_inode = (2).to_bytes(8, "big") + (0o100644).to_bytes(4, "big") + bytes(8) + bytes(34)
    directory = (2).to_bytes(8, "big") + (0o040755).to_bytes(4, "big") + bytes(8) + bytes(34)

    def name_item(parent: int, ino: int, name: bytes) -> bytes:
        head = b"\4" + parent.to_bytes(8, "big") + ino.to_bytes(8, "big")
        return head + bytes([len(name)]) + name

    file = b"\2" + file_inode
    cases: dict[str, tuple[str, bytes, str]] = {
        "unknown-item": ("VOL-30", root + b"\x09", "an item of unknown type"),
        "cut-item": ("VOL-30", root + b"\2" + inode[:20], "an item that ends early"),
        "no-root": ("VOL-36", file, "no root directory"),
        "nameless": ("VOL-36", root + file, "an inode without a name"),
        "slash": ("VOL-34", root + file + name_item(1, 2, b"a/b"), "a name with a slash"),
        "dots": ("VOL-34", root + file + name_item(1, 2, b".."), "a name of dots"),
        "empty-name": ("VOL-34", root + file + name_item(1, 2, b""), "an empty name"),
        "twice": (
            "VOL-34",
            root + file + name_item(1, 2, b"a") + name_item(1, 2, b"a"),
            "a name added twice",
        ),
        "in-a-file": (
            "VOL-34",
            root + file + name_item(1, 2, b"a") + name_item(2, 2, b"b"),
            "a name in a file",
        ),
        "cycle": (
            "VOL-36",
            root + b"\2" + directory + name_item(2, 2, b"self"),
            "a directory that only it contains",
        ),
        "session-order": (
            "VOL-31",
            root + b"\1" + (1).to_bytes(4, "big") + bytes(32),
            "session 1 before session 0",
        ),
        "device": (
            "VOL-32",
            root + b"\2" + file_inode[:8] + (0o060644).to_bytes(4, "big") + file_inode[12:],
            "an inode of an unknown type",
        ),
    }
    for name, (clause, items, comment) in cases.items():
        bench = forged(f"index-{name}", items)
        write.case(f"index-{name}", clause, comment, bench, "volume.malformed")


def rotated(name: str) -> VolumeBench:
    """Return a volume of two keys: some files under the first, some under the second."""
    bench, _ = history(name)
    bench.rotate()
    fs = bench.writer()
    put(fs, b"later", pattern(2000, 11))
    put(fs, b"small", pattern(400, 13))
    fs.commit()
    put(fs, b"hole", b"y")
    fs.close()
    return bench


def rekeyed(name: str) -> VolumeBench:
    bench = rotated(name)
    bench.rekey()
    return bench


def good_rotations(write: Writer) -> None:
    bench = rotated("rotated")
    write.case("ok-rotated", "VOL-70", "data under two keys, the index under one", bench, "ok")
    bench = rekeyed("rekeyed")
    write.case("ok-rekeyed", "VOL-73", "nothing under the first key any more", bench, "ok")
    bench.retire()
    write.case("ok-retired", "VOL-76", "the first key is gone", bench, "ok")
    bench.crash()
    bench.rotate()
    fs = bench.writer()
    put(fs, b"third", pattern(900, 17))
    fs.close()
    write.case("ok-rotated-again", "VOL-70", "keys 2 and 3, never the first", bench, "ok")


def bad_rotations(write: Writer) -> None:
    bench = rotated("one key")
    whole, bench.later_keys = bench.keys, None
    write.case(
        "rotated-first-key-only", "VOL-70", "the newer key is lacking", bench, "release.key-missing"
    )
    bench.later_keys = whole.since(2)
    write.case(
        "rotated-last-key-only", "VOL-70", "the older key is lacking", bench, "release.key-missing"
    )
    for name, value in (("lowered", 0), ("raised", 2)):
        bench = rotated("epoch")
        bench.store.files[journal_of(bench.store)][7] = value
        comment = f"the key epoch of the index {name} by the host"
        write.case(f"rotated-epoch-{name}", "VOL-20", comment, bench, "volume.tampered")
    bench, _ = history("mixed segment")
    bench.rotate()
    superblock = Superblock.from_bytes(bytes(bench.store.files["superblock"]))
    state = bench.holder.current
    base = Index()
    base.make_root(mode=0o755, at_ns=0)
    pieces, root = seal_entry(
        VolumeKeys(bench.keys, superblock),
        superblock,
        base.full(),
        kind=EntryKind.DELTA,
        version=state.version + 1,
        epoch=state.epoch,
        previous=state.root,
    )
    bench.store.files[journal_of(bench.store)] += b"".join(pieces)
    bench.holder.register(version=state.version + 1, root=root)
    comment = "an anchored delta under another key than its segment"
    write.case("rotated-segment-mixed", "VOL-71", comment, bench, "volume.tampered")
    bench = rotated("spliced")
    before = bench.store.copy()
    fs = bench.writer()
    put(fs, b"small", pattern(400, 19))
    fs.close()
    pack = bench.store.files["objects/pack"]
    pack[:] = before.files["objects/pack"].ljust(len(pack), b"\0")
    comment = "blocks of an older state in place of newer ones"
    write.case("rotated-data-spliced", "VOL-52", comment, bench, "volume.tampered")
    bench = rekeyed("put back")
    state = bench.holder.current
    bench = rotated("put back")
    bench.holder.current = state
    comment = "the volume as it was before it was rekeyed"
    write.case("rotated-put-back", "VOL-43", comment, bench, "volume.rolled-back")
    bench = rekeyed("superblock")
    bench.retire()
    bench.store.files["superblock"][40] ^= 1
    comment = "a changed superblock, and no key to compare it with"
    write.case("retired-superblock", "VOL-76", comment, bench, "volume.tampered")


def bad_sessions(write: Writer) -> None:
    """Entries under key 3 whose sessions cannot be."""
    base = Index()
    base.make_root(mode=0o755, at_ns=0)
    root = base.full()

    def later(number: int, key_epoch: int) -> bytes:
        return b"\6" + number.to_bytes(4, "big") + key_epoch.to_bytes(4, "big") + bytes(32)

    def gone(number: int) -> bytes:
        return b"\7" + number.to_bytes(4, "big")

    first = b"\1" + bytes(4) + bytes(32)
    cases: dict[str, tuple[str, bytes, str]] = {
        "first-key": ("VOL-72", later(0, 1), "a session of type 6 under the first key"),
        "no-key": ("VOL-72", later(0, 0), "a session under key epoch 0"),
        "newer": ("VOL-72", later(0, 4), "a session under a newer key than the entry's"),
        "order": ("VOL-72", later(1, 2), "session 1 before session 0"),
        "lower": ("VOL-72", later(0, 3) + later(1, 2), "a key epoch lower than the one before"),
        "lower-first": (
            "VOL-72",
            later(0, 2) + b"\1" + (1).to_bytes(4, "big") + bytes(32),
            "the first key after a later one",
        ),
        "cut": ("VOL-30", later(0, 2)[:-1], "a session that ends early"),
        "gone-none": ("VOL-73", gone(0), "no session gone"),
        "gone-beyond": ("VOL-73", first + gone(2), "a session gone that never was"),
        "gone-far": ("VOL-73", gone(2**24 + 1), "more sessions gone than there can be"),
        "gone-twice": ("VOL-73", first + gone(1) + gone(1), "sessions gone twice"),
        "gone-number": ("VOL-72", gone(5) + later(0, 2), "a session below those that are gone"),
    }
    for name, (clause, items, comment) in cases.items():
        bench = forged(f"sessions-{name}", items + root, rotations=2)
        write.case(f"sessions-{name}", clause, comment, bench, "volume.malformed")
    bench = forged("sessions-ok", gone(2**24) + root, rotations=2)
    write.case("ok-sessions-all-gone", "VOL-73", "every session that can be is gone", bench, "ok")


def forged(name: str, items: bytes, *, rotations: int = 0) -> VolumeBench:
    seed(name)
    bench = VolumeBench(key=KEY)
    for _ in range(rotations):
        bench.rotate()
    superblock = make_superblock(
        KEY, kind=VolumeKind.MUTABLE, block_bytes=512, volume_id=Counter(name)(16)
    )
    keys = VolumeKeys(bench.keys, superblock)
    pieces, root = seal_entry(
        keys, superblock, items, kind=EntryKind.FULL, version=1, epoch=0, previous=NO_ROOT
    )
    bench.store.create("superblock").write([superblock.to_bytes()], 0)
    bench.store.create("journal/0000000000000001").write(pieces, 0)
    bench.store.create("objects/pack")
    bench.holder.register(version=1, root=root)
    return bench


REGIONS = Regions(
    {
        "/public": RegionClass.AUTHENTICATED,
        "/public/secret": RegionClass.ENCRYPTED,
        "/scratch": RegionClass.EPHEMERAL,
        "/out": RegionClass.PLAIN,
    }
)


def with_classes(name: str) -> tuple[VolumeBench, dict[bytes, int]]:
    """Return a volume with files of both classes, and the inodes by name."""
    bench = new_bench(name)
    bench.regions = REGIONS
    fs = bench.writer()
    public = fs.mkdir(ROOT_INO, b"public", 0o755, 0, 0).ino
    secret = fs.mkdir(public, b"secret", 0o755, 0, 0).ino
    fs.mkdir(ROOT_INO, b"publications", 0o755, 0, 0)
    inodes = {
        b"small": put(fs, b"small", pattern(5), parent=public),
        b"empty": put(fs, b"empty", b"", parent=public),
        b"packed": put(fs, b"packed", pattern(300), parent=public),
        b"direct": put(fs, b"direct", pattern(3000, 5), parent=public),
        b"tree": put(fs, b"tree", pattern(9000, 3), parent=public),
        b"inner": put(fs, b"inner", pattern(700, 9), parent=secret),
        b"beside": put(fs, b"beside", pattern(700, 9)),
    }
    fs.symlink(public, b"link", b"direct", 0, 0)
    fs.close()
    return bench, inodes


def object_with(bench: VolumeBench, part: bytes) -> str:
    """Return the path of the backing file that holds these bytes in the clear."""
    return next(path for path, data in bench.store.files.items() if part in data)


def good_classes(write: Writer) -> None:
    bench, _ = with_classes("classes")
    write.case("ok-classes", "VOL-81", "encrypted and authenticated files", bench, "ok")
    bench.crash()
    bench.rotate()
    bench.rekey()
    bench.retire()
    write.case("ok-classes-rekeyed", "VOL-81", "both sealed again under a newer key", bench, "ok")


def bad_classes(write: Writer) -> None:
    bench, _ = with_classes("flipped")
    path = object_with(bench, pattern(3000, 5)[512:1024])
    bench.store.files[path][700] ^= 1
    comment = "one bit of an authenticated block"
    write.case("authenticated-flipped", "VOL-81", comment, bench, "volume.tampered")
    bench, _ = with_classes("padding")
    pack = bench.store.files["objects/pack"]
    pack[pack.index(pattern(300)) + 400] ^= 1
    comment = "one bit behind the end of an authenticated file"
    write.case("authenticated-padding", "VOL-81", comment, bench, "volume.tampered")
    bench, _ = with_classes("swapped")
    data = bench.store.files[object_with(bench, pattern(3000, 5)[512:1024])]
    data[:512], data[512:1024] = data[512:1024], data[:512]
    comment = "two authenticated blocks exchanged"
    write.case("authenticated-swapped", "VOL-81", comment, bench, "volume.tampered")
    bench, inodes = with_classes("older")
    before = bench.store.copy()
    fs = bench.writer()
    for step in (7, 11):
        fs.write(inodes[b"direct"], 0, memoryview(pattern(3000, step)))
        fs.fsync(inodes[b"direct"])
    fs.close()
    path = object_with(bench, pattern(3000, 11)[512:1024])
    bench.store.files[path][: len(before.files[path])] = before.files[path]
    comment = "authenticated blocks of an older state"
    write.case("authenticated-older", "VOL-81", comment, bench, "volume.tampered")
    bench, _ = with_classes("cut")
    path = object_with(bench, pattern(3000, 5)[512:1024])
    del bench.store.files[path][1000:]
    write.case("authenticated-cut", "VOL-51", "cut", bench, "volume.truncated")
    for name, classes in (
        ("readable", {"/public/secret": "authenticated"}),
        ("encrypted", {"/public": "encrypted"}),
        ("shadowed", {"/public/secret": "ephemeral"}),
        ("file", {"/beside": "authenticated"}),
        ("link", {"/public/link": "encrypted"}),
        ("above", {"/public/link/x": "authenticated"}),
    ):
        bench, _ = with_classes("another policy")
        changed = {path: RegionClass(found) for path, found in classes.items()}
        bench.regions = Regions({**REGIONS.classes, **changed})
        comment = f"regions that say {next(iter(classes.values()))} of other files"
        write.case(f"class-{name}", "VOL-83", comment, bench, "volume.region")
    bench, _ = with_classes("no regions")
    bench.regions = Regions({})
    comment = "no regions, and an authenticated file"
    write.case("class-none", "VOL-83", comment, bench, "volume.region")


def bad_flags(write: Writer) -> None:
    """Entries that somebody with the key made, about files whose class cannot be."""
    for name, clause, expect in (
        ("encrypted", "VOL-81", "volume.tampered"),
        ("authenticated", "VOL-81", "volume.tampered"),
        ("both", "VOL-80", "volume.malformed"),
    ):
        bench, inodes = with_classes(f"flag {name}")
        fs = bench.writer()
        changed = [b"beside"] if name == "authenticated" else [b"small", b"direct", b"packed"]
        for each in changed:
            inode = fs._index.inodes[inodes[each]]  # noqa: SLF001  # what no writer does
            inode.authenticated = name == "authenticated"
            fs._index.touch(inode)  # noqa: SLF001  # what no writer does
        if name != "both":
            fs._committer._key_epoch = 0  # noqa: SLF001  # the next entry is a full one
        fs.close()
        if name != "both":
            bench.regions = Regions({"/beside": RegionClass.AUTHENTICATED, **REGIONS.classes})
        if name == "encrypted":
            bench.regions = Regions(
                {
                    **REGIONS.classes,
                    **{f"/public/{each.decode()}": RegionClass.ENCRYPTED for each in (*changed,)},
                }
            )
        comment = f"files that are {name} in the index and were written otherwise"
        write.case(f"flag-{name}", clause, comment, bench, expect)
    base = Index()
    base.make_root(mode=0o755, at_ns=0)
    head = (2).to_bytes(8, "big")
    named = b"\4" + (1).to_bytes(8, "big") + (2).to_bytes(8, "big") + b"\1a"
    cases = {
        "directory": (0o040755, bytes(40) + b"\0\2", "an authenticated directory"),
        "inline": (
            0o100644,
            bytes(8) + (1).to_bytes(8, "big") + bytes(24) + b"\1\2\0\1x",
            "an authenticated file inside the index",
        ),
        "link": (
            0o120777,
            bytes(8) + (1).to_bytes(8, "big") + bytes(24) + b"\1\2\0\1x",
            "an authenticated link",
        ),
        "unknown": (0o100644, bytes(40) + b"\0\4", "a flag that is not known"),
    }
    for name, (mode, rest, comment) in cases.items():
        item = b"\2" + head + mode.to_bytes(4, "big") + rest
        bench = forged(f"flag-{name}", base.full() + item + named)
        write.case(f"flag-{name}", "VOL-80", comment, bench, "volume.malformed")


STEPS: list[Callable[[Writer], None]] = [
    good,
    bad_superblocks,
    bad_histories,
    bad_indexes,
    good_rotations,
    bad_rotations,
    bad_sessions,
    good_classes,
    bad_classes,
    bad_flags,
]


def main() -> None:
    """Write all cases."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for step in STEPS:
        step(Writer(target))


if __name__ == "__main__":
    main()
