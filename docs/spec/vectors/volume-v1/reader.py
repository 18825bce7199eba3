# ruff: noqa: ANN001, ANN002, ANN201, ANN202, ANN204, B020, C901
# ruff: noqa: D101, D102, D103, PLR0915, PT018, S101
"""A second reader of volume-v1, written from its page alone; checks every vector beside it.

Fails by assertion or index on anything malformed, by `Bad` on everything that has a code.
"""

import hashlib
import hmac
import json
import re
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class Bad(Exception):  # noqa: N818
    pass


def hkdf(secret, salt, info):
    key = hmac.digest(salt, secret, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def gcm(key, number, sealed, tag, aad):
    cipher = Cipher(algorithms.AES(key), modes.GCM(number.to_bytes(12, "big"), tag)).decryptor()
    cipher.authenticate_additional_data(aad)
    try:
        return cipher.update(sealed) + cipher.finalize()
    except InvalidTag as e:
        raise Bad("volume.tampered") from e


class Volume:
    def __init__(self, keys, anchor, files, regions):
        self.files, self.keys = files, keys
        sb = self.file("superblock")  # VOL-40
        assert len(sb) == 64 and sb[:10] == b"CLSTRVOL\0\1" and sb[12:16] == bytes(4)
        assert sb[10] in (1, 2) and 9 <= sb[11] <= 20
        self.vid, self.block = sb[16:32], 1 << sb[11]
        self.granule = min(4096, self.block)
        mac = b"cloister volume v1 superblock" + sb[:32]
        if 1 in keys and hkdf(keys[1], self.vid, mac) != sb[32:]:  # VOL-76
            raise Bad("volume.foreign")
        self.digest = hashlib.sha256(sb).digest()
        self.sessions, self.next, self.inodes, self.names = {}, 0, {}, {}
        for entry in self.find(anchor["version"], bytes.fromhex(anchor["root"])):
            self.apply(self.open(*entry), 1 + int.from_bytes(entry[0][5:8], "big"))
        self.check()
        self.check_classes(1, "", regions)

    def check_classes(self, ino, path, regions):  # VOL-83
        for name, child in self.names[ino].items():
            here = path + "/" + name.decode()
            mode, _, _, _, authenticated = self.inodes[child]
            covering = [p for p in regions if p == "/" or (here + "/").startswith(p + "/")]
            wanted = regions[max(covering, key=len)] if covering else "encrypted"
            above = any((p + "/").startswith(here + "/") for p in regions)
            if mode >> 12 == 4:
                self.check_classes(child, here, regions)
            elif (
                (mode >> 12 == 10 and above)
                or (mode >> 12 == 8 and wanted != ("encrypted", "authenticated")[authenticated])
                or wanted in ("plain", "ephemeral")
            ):
                raise Bad("volume.region")

    def derived(self, epoch, kind, salt, purpose):
        if epoch not in self.keys:
            raise Bad("release.key-missing")
        key = hkdf(self.keys[epoch], self.vid, b"cloister volume v1 " + kind)
        return hkdf(key, salt, b"cloister volume v1 " + purpose)

    def file(self, path):
        if path not in self.files:
            raise Bad("volume.truncated")
        return self.files[path]

    def find(self, version, root):
        if not version:
            raise Bad("volume.tampered")
        newest, endings = 0, set()
        paths = [p for p in self.files if re.fullmatch("journal/[0-9a-f]{16}", p)]
        assert len(paths) <= 64
        for path in sorted(paths):
            data, at, chain = self.files[path], 0, []
            ending = "clean" if data else "cut"
            last = (int(path[8:], 16) - 1, 0, None)
            while at < len(data):
                head = data[at : at + 96]
                if len(head) < 96:
                    ending = "cut"
                    break
                magic, kind, keyed, v, epoch, size, prev, _ = struct.unpack(">4sB3sQQQ32s32s", head)
                good = magic == b"CLE1" and kind in (1, 2)
                good = good and (not chain or keyed == chain[0][0][5:8])  # VOL-71
                good = good and 1 <= v < 2**63 and epoch < 2**63 and 17 <= size <= 2**32
                if good and at + 96 + size > len(data):
                    ending = "cut"
                    break
                good = good and not 1 <= size % 65552 <= 16 and v == last[0] + 1
                good = good and kind == (2 if chain else 1) and epoch >= last[1]
                if not (good and (prev == last[2] if chain else (v == 1) == (prev == bytes(32)))):
                    ending = "broken"
                    break
                body = data[at + 96 : at + 96 + size]
                label = b"cloister volume v1 root" + self.digest
                last = (v, epoch, hashlib.sha256(label + head + body).digest())
                chain.append((head, body))
                newest = max(newest, v)
                if (v, last[2]) == (version, root):
                    return chain
                at += 96 + size
            endings.add(ending)
        if not newest or "cut" in endings:
            raise Bad("volume.truncated")
        old = newest < version and "broken" not in endings
        raise Bad("volume.rolled-back" if old else "volume.tampered")

    def open(self, head, body):
        key = self.derived(1 + int.from_bytes(head[5:8], "big"), b"index", head[64:], b"entry")
        chunks = [body[i : i + 65552] for i in range(0, len(body), 65552)]
        label = b"cloister volume v1 entry" + self.digest + head
        return b"".join(
            gcm(key, n, chunk[:-16], chunk[-16:], label + bytes([n == len(chunks) - 1]))
            for n, chunk in enumerate(chunks)
        )

    def apply(self, items, newest):
        at = 0

        def take(*sizes):
            nonlocal at
            for size in sizes:
                at += size
                assert at <= len(items)
                yield items[at - size : at]

        def number(size=8):
            return int.from_bytes(next(take(size)), "big")

        def name():
            found = next(take(number(1)))
            assert found and found not in (b".", b"..") and not set(b"/\0") & set(found)
            return found

        while at < len(items):
            kind = number(1)
            if kind in (1, 6):
                assert number(4) == self.next < 2**24
                epoch = number(4) if kind == 6 else 1
                assert kind == 1 or 2 <= epoch <= newest
                assert epoch >= self.sessions.get(self.next - 1, (1,))[0]
                self.sessions[self.next] = (epoch, next(take(32)))
                self.next += 1
            elif kind == 7:
                end = number(4)
                first = min(self.sessions, default=self.next)
                self.next = self.next or end  # an index that starts from nothing
                assert first < end <= min(self.next, 2**24)
                self.sessions = {n: s for n, s in self.sessions.items() if n >= end}
            elif kind == 2:
                ino, mode, _, _, size, _, _, _ = (number(n) for n in (8, 4, 4, 4, 8, 8, 8, 8))
                where, flags = number(1), number(1)
                digest = next(take(32 * (flags & 1)))
                assert 0 < ino < 2**63 and size <= 2**43 and flags < 4 and mode < 2**16
                assert flags < 2 or (mode >> 12 == 8 and where != 1)  # VOL-80
                assert self.inodes.get(ino, (flags > 1,))[-1] == (flags > 1)
                assert mode >> 12 == self.inodes.get(ino, (mode,))[0] >> 12 and where < 4
                inline = next(take(number(2))) if where == 1 else b""
                place = next(take(16)) if where == 3 else None
                height, count = (number(1), number(1)) if where == 3 else (0, where == 2)
                assert height <= 8 and count <= 16 and place != bytes(16)
                assert {4: where == 0 == size, 8: True, 10: where == 1}[mode >> 12]
                assert where > 1 or size == len(inline) <= {4: 0, 8: 1024, 10: 4095}[mode >> 12]
                assert where != 1 or inline
                content = (inline, place, height, next(take(32 * count)))
                self.inodes[ino] = (mode, size, digest, content, flags > 1)
                if mode >> 12 == 4:
                    self.names.setdefault(ino, {})
            elif kind == 3:
                ino = number()
                assert ino != 1 and ino in self.inodes and not self.names.pop(ino, None)
                del self.inodes[ino]
            elif kind == 4:
                parent, ino, new = number(), number(), name()
                assert ino in self.inodes and new not in self.names[parent] and ino != 1
                assert ino not in self.names or not self.links(ino)
                self.names[parent][new] = ino
            else:
                assert kind == 5
                del self.names[number()][name()]

    def links(self, ino):
        return sum(list(names.values()).count(ino) for names in self.names.values())

    def check(self):
        assert self.inodes[1][0] >> 12 == 4
        assert all(self.links(ino) for ino in self.inodes if ino != 1)
        seen, waiting = set(), [1]
        while waiting:
            seen.add(waiting[0])
            waiting += [i for i in self.names[waiting.pop(0)].values() if i in self.names]
        assert seen == set(self.names)

    def read_block(self, ino, place, level, index, pointer):
        if pointer == bytes(32):
            return bytes(self.block)
        slot, length = int.from_bytes(pointer[:5], "big"), int.from_bytes(pointer[5:8], "big")
        assert 0 < length <= self.block and length % self.granule == 0
        path = f"objects/{place.hex()[:2]}/{place.hex()}" if place else "objects/pack"
        start = slot * (self.block if place else self.granule)
        sealed = self.file(path)[start : start + length]
        if len(sealed) < length:
            raise Bad("volume.truncated")
        epoch, salt = self.sessions[int.from_bytes(pointer[8:11], "big")]
        place = self.vid + struct.pack(">QBQI", ino, level, index, length)
        counter = int.from_bytes(pointer[11:16], "big")
        if self.inodes[ino][4] and not level:  # VOL-81
            key = self.derived(epoch, b"data", salt, b"authenticated")
            aad = b"cloister volume v1 readable" + place + sealed
            assert gcm(key, counter, b"", pointer[16:], aad) == b""
            return sealed.ljust(self.block, b"\0")
        key = self.derived(epoch, b"data", salt, b"session")
        aad = b"cloister volume v1 block" + place
        return gcm(key, counter, sealed, pointer[16:], aad).ljust(self.block, b"\0")

    def read(self, ino):
        _, size, digest, (inline, place, height, pointers), _ = self.inodes[ino]
        level = dict(enumerate(pointers[i : i + 32] for i in range(0, len(pointers), 32)))
        per = self.block // 32
        for height in range(height, 0, -1):
            pages = {j: self.read_block(ino, place, height, j, p) for j, p in level.items()}
            level = {
                j * per + k: p[32 * k : 32 * k + 32] for j, p in pages.items() for k in range(per)
            }
        count = 0 if inline else -(-size // self.block)
        hole = bytes(32)
        blocks = (self.read_block(ino, place, 0, i, level.get(i, hole)) for i in range(count))
        data = inline or b"".join(blocks)[:size]
        assert not digest or hashlib.sha256(data).digest() == digest
        return data

    def tree(self, ino=1, prefix=""):
        found = {}
        for name, child in self.names[ino].items():
            mode, size, _, content, _ = self.inodes[child]
            path = prefix + name.decode()
            below = sum(1 for i in self.names.get(child, {}).values() if i in self.names)
            found[path] = {
                "mode": mode,
                "nlink": 2 + below if mode >> 12 == 4 else self.links(child),
            }
            if mode >> 12 == 10:
                found[path]["target"] = content[0].decode()
            elif mode >> 12 == 8:
                sha = hashlib.sha256(self.read(child)).hexdigest()
                found[path] |= {"size": size, "sha256": sha}
            else:
                found |= self.tree(child, path + "/")
        return found


def outcome(case):
    files = {path: bytes.fromhex(data) for path, data in case["files"].items()}
    try:
        keys = case["keys"] if "keys" in case else {1: case["key"]}
        keys = {int(epoch): bytes.fromhex(key) for epoch, key in keys.items()}
        tree = Volume(keys, case["anchor"], files, case.get("regions", {})).tree()
    except Bad as e:
        return str(e), None
    except (AssertionError, LookupError, struct.error):
        return "volume.malformed", None
    return "ok", tree


if __name__ == "__main__":
    wrong = 0
    cases = sorted(Path(__file__).parent.glob("*.json"))
    for path in cases:
        case = json.loads(path.read_text())
        found, tree = outcome(case)
        if (found, tree) != (case["expect"], case.get("content")):
            wrong += 1
            print(f"{path.name}: {found} instead of {case['expect']}")
    print(f"{len(cases) - wrong} of {len(cases)} vectors agree")
    sys.exit(bool(wrong))
