"""Write the vectors of endorsement-sources-v1. Running it again changes nothing.

Uses cbor2 and hashlib only: an implementation of its own, written from the page.
"""

import hashlib
import json
import sys
from pathlib import Path

import cbor2

HERE = Path(__file__).parent
LABEL = b"cloister/endorsement-cache/v1"
CHIP = bytes(range(64))
SIGNATURE = "ab" * 64
SIGNED = '{"a": {"b":[1,"}\\""]}}'
GOOD = f'{{"tcbInfo":{SIGNED},"signature":"{SIGNATURE}"}}'
ANSWER = {
    "version": 1,
    "url": "https://a.example/x",
    "at": 1_800_000_000,
    "headers": [["tcb-info-issuer-chain", "%0A"]],
    "body": b"{}",
}


def framed(*parts: bytes) -> bytes:
    """Each part with its length before it."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def entry(answer: object) -> dict[str, bytes]:
    """An entry's parts."""
    data = cbor2.dumps(answer, canonical=True)
    return {"answer": data, "digest": hashlib.sha256(framed(LABEL, data)).digest()}


def packed(parts: object) -> str:
    """An entry's bytes."""
    return cbor2.dumps(parts, canonical=True).hex()


def targets() -> dict[str, tuple[str, str, dict[str, object]]]:
    """Facts and what is asked."""
    intel = {"tee": "tdx", "fmspc": "00906ed50000", "ca": "platform"}
    milan_chip = {
        "product": "Milan",
        "key": "VCEK",
        "chip_id": CHIP.hex(),
        "tcb": "0300000000000873",
    }
    turin_id = (CHIP[:8] + bytes(56)).hex()
    turin_chip = {"product": "Turin", "key": "VCEK", "chip_id": turin_id, "tcb": "01040018000000db"}
    root = "intel-root-crl "
    return {
        "intel-tdx": (
            "A TD's model.",
            "ES-13",
            intel
            | {
                "targets": [
                    "intel /tdx/certification/v4/tcb?fmspc=00906ED50000",
                    "intel /tdx/certification/v4/qe/identity",
                    "intel /sgx/certification/v4/pckcrl?ca=platform&encoding=der",
                    root,
                ]
            },
        ),
        "intel-sgx": (
            "An enclave's, certified by the processor CA.",
            "ES-13",
            {
                "tee": "sgx",
                "fmspc": "00a067110000",
                "ca": "processor",
                "targets": [
                    "intel /sgx/certification/v4/tcb?fmspc=00A067110000",
                    "intel /sgx/certification/v4/qe/identity",
                    "intel /sgx/certification/v4/pckcrl?ca=processor&encoding=der",
                    root,
                ],
            },
        ),
        "intel-short": ("A model of five bytes.", "ES-13", intel | {"fmspc": "00906ed500"}),
        "amd-milan": (
            "A chip, with versions in Milan's layout.",
            "ES-15",
            milan_chip
            | {
                "targets": [
                    "amd /vcek/v1/Milan/cert_chain",
                    "amd /vcek/v1/Milan/crl",
                    f"amd /vcek/v1/Milan/{CHIP.hex()}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
                ]
            },
        ),
        "amd-turin": (
            "A chip of eight bytes, with versions in Turin's layout.",
            "ES-15",
            turin_chip
            | {
                "targets": [
                    "amd /vcek/v1/Turin/cert_chain",
                    "amd /vcek/v1/Turin/crl",
                    f"amd /vcek/v1/Turin/{CHIP[:8].hex()}"
                    "?fmcSPL=01&blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219",
                ]
            },
        ),
        "nvidia-driver": (
            "Manifests by their names.",
            "ES-17",
            {
                "rim": "NV_GPU_DRIVER_GH100_550.90.07",
                "targets": ["nvidia-rim /NV_GPU_DRIVER_GH100_550.90.07"],
            },
        ),
        "nvidia-path": ("A name that leads elsewhere.", "ES-17", {"rim": "NV_/../../x"}),
    }


def statements() -> dict[str, tuple[str, str]]:
    """Answers of Intel's; the text that was signed is always the same."""
    deep = "[" * 9 + "]" * 9
    return {
        "ok": ("As Intel answers.", GOOD),
        "ok-spaces": (
            "Spaces around members are not signed.",
            f' {{ "tcbInfo" : {SIGNED} , "signature" : "{SIGNATURE.upper()}" }}\n',
        ),
        "other-member": ("Another member.", GOOD.replace("tcbInfo", "tcbinfo")),
        "order": (
            "The signature first.",
            f'{{"signature":"{SIGNATURE}","tcbInfo":{SIGNED}}}',
        ),
        "no-signature": ("No signature.", f'{{"tcbInfo":{SIGNED}}}'),
        "short-signature": ("63 bytes of signature.", GOOD.replace("abab", "ab", 1)),
        "more": ("A third member.", GOOD[:-1] + ',"x":1}'),
        "twice": ("The member twice.", GOOD[:-1] + f',"tcbInfo":{SIGNED}}}'),
        "trailing": ("Something behind.", GOOD + "x"),
        "not-an-object": ("A list for a statement.", GOOD.replace(SIGNED, "[]")),
        "deep": ("Nested too deep.", GOOD.replace(SIGNED, f'{{"a":{deep}}}')),
    }


def entries() -> dict[str, tuple[str, str, str]]:
    """Entries of the cache."""
    good = entry(ANSWER)
    wrong = bytes([good["digest"][0] ^ 1]) + good["digest"][1:]
    message = "message.malformed"
    return {
        "ok": ("An answer with a header.", packed(good), "ok"),
        "digest": (
            "A digest of something else.",
            packed(good | {"digest": wrong}),
            "state.tampered",
        ),
        "cut": ("Without its last byte.", packed(good)[:-2], "wire.malformed"),
        "trailing": ("A byte too many.", packed(good) + "00", "wire.malformed"),
        "version": ("Another version.", packed(entry(ANSWER | {"version": 2})), message),
        "header": ("Three texts.", packed(entry(ANSWER | {"headers": [["a", "b", "c"]]})), message),
        "headers": (
            "Nine of them.",
            packed(entry(ANSWER | {"headers": [["a", "b"]] * 9})),
            message,
        ),
        "url": ("A long address.", packed(entry(ANSWER | {"url": "x" * 2049})), message),
        "more": ("An unknown field.", packed(entry(ANSWER | {"more": 1})), message),
    }


def main(out: Path) -> None:
    """Write every case."""
    cases: dict[str, dict[str, object]] = {}
    for name, (comment, clause, facts) in targets().items():
        expect = "ok" if "targets" in facts else "config.value"
        cases[f"targets-{name}"] = {
            "kind": "targets",
            "comment": comment,
            "clause": clause,
            "expect": expect,
            **facts,
        }
    for name, (comment, body) in statements().items():
        expect = "ok" if name.startswith("ok") else "endorsement.malformed"
        cases[f"statement-{name}"] = {
            "kind": "statement",
            "comment": comment,
            "clause": "ES-13",
            "body": body,
            "signed": SIGNED,
            "signature": SIGNATURE,
            "expect": "wire.too-large" if name == "deep" else expect,
        }
    for name, (comment, data, expect) in entries().items():
        cases[f"entry-{name}"] = {
            "kind": "entry",
            "comment": comment,
            "clause": "ES-20",
            "entry": data,
            "body": ANSWER["body"].hex(),
            "expect": expect,
        }
    addresses = {
        "https://a.example": ["a.example", 443, ""],
        "https://a.example:8081/x/y.der": ["a.example", 8081, "/x/y.der"],
        "http://a.example": None,
        "https://user@a.example": None,
        "https://a.example/?q": None,
        "https://a.example:0": None,
        "https://a.example:65536": None,
        "https://": None,
        "https://a.example/%2e": None,
        "https://a.example ": None,
    }
    for number, (url, read) in enumerate(addresses.items(), 1):
        cases[f"address-{number:02}"] = {
            "kind": "address",
            "comment": f"{'An address' if read else 'None'}: {url}",
            "clause": "ES-4",
            "url": url,
            "read": read,
            "expect": "ok" if read else "config.value",
        }
    for name, case in cases.items():
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
