"""Write the vectors of cca-evidence-v1. Running it again changes nothing.

The simulated manufacturer makes them; its layout is the verifier's, its keys come from a seed.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.tee.cca.layout import MEDIA_TYPE, CcaToken
from cloister.testing.manufacturers.cca import SimulatedCca, sign_token
from cloister.testing.manufacturers.device_pki import device_key

HERE = Path(__file__).parent
MAKER = SimulatedCca("vectors")
OTHER = SimulatedCca("vectors/other")
SMALL = SimulatedCca("vectors/small", curve="P-256")


def main(out: Path) -> None:
    """Write every case."""
    realm = MAKER.realm()
    platform = MAKER.platform(realm)
    evidence = MAKER.evidence()
    token, foreign = (CcaToken.from_bytes(each.evidence().body) for each in (MAKER, OTHER))
    debug = MAKER.evidence(platform=MAKER.platform(realm, lifecycle=0x5000))
    jwk = json.loads(MAKER.key.body)

    def whole(value: CcaToken) -> Evidence:
        return Evidence(MEDIA_TYPE, value.to_bytes())

    def key(**change: str) -> Endorsement:
        return Endorsement(MAKER.key.media_type, json.dumps(jwk | change).encode())

    cases: dict[str, tuple[str, str, Evidence, list[Endorsement], str]] = {
        "ok": ("A realm on a secured platform.", "CCA-20", evidence, [MAKER.key], "ok"),
        "ok-es256": (
            "The platform's key is on P-256.",
            "CCA-12",
            SMALL.evidence(),
            [SMALL.key],
            "ok",
        ),
        "ok-debug": ("A platform in debug; a policy decides.", "CCA-20", debug, [MAKER.key], "ok"),
        "other-kind": (
            "Another media type.",
            "CCA-10",
            Evidence("a/b", evidence.body),
            [MAKER.key],
            "evidence.kind",
        ),
        "other-tag": (
            "Tag 398.",
            "CCA-2",
            Evidence(MEDIA_TYPE, b"\xd9\x01\x8e" + evidence.body[3:]),
            [MAKER.key],
            "evidence.malformed",
        ),
        "trailing": (
            "One byte more.",
            "CCA-2",
            Evidence(MEDIA_TYPE, evidence.body + b"\x00"),
            [MAKER.key],
            "evidence.malformed",
        ),
        "swapped": (
            "Each token in the other's place.",
            "CCA-4",
            whole(CcaToken(token.realm, token.platform)),
            [MAKER.key],
            "evidence.malformed",
        ),
        "other-profile": (
            "A profile that is not read.",
            "CCA-5",
            MAKER.evidence(realm=replace(realm, profile="tag:arm.com,2024:realm#2.0.0")),
            [MAKER.key],
            "evidence.malformed",
        ),
        "three-registers": (
            "One extensible measurement less.",
            "CCA-5",
            MAKER.evidence(realm=replace(realm, extensible_measurements=(bytes(32),) * 3)),
            [MAKER.key],
            "evidence.malformed",
        ),
        "weak-hash": (
            "A hash that binds nothing.",
            "CCA-5",
            MAKER.evidence(platform=platform, realm=replace(realm, key_hash_algorithm="md5")),
            [MAKER.key],
            "evidence.malformed",
        ),
        "no-key": ("The platform's key is missing.", "CCA-11", evidence, [], "endorsement.missing"),
        "two-keys": (
            "Two keys.",
            "CCA-11",
            evidence,
            [MAKER.key, MAKER.key],
            "endorsement.mismatch",
        ),
        "other-platform": (
            "Not among the anchors.",
            "CCA-11",
            OTHER.evidence(),
            [OTHER.key],
            "endorsement.anchor",
        ),
        "private-key": (
            "A private part.",
            "CCA-7",
            evidence,
            [key(d="AA")],
            "endorsement.malformed",
        ),
        "no-point": (
            "Not on the curve.",
            "CCA-7",
            evidence,
            [key(x=jwk["y"])],
            "endorsement.malformed",
        ),
        "borrowed-key": (
            "An accepted platform's key, another's token.",
            "CCA-12",
            OTHER.evidence(),
            [MAKER.key],
            "evidence.signature",
        ),
        "two-machines": (
            "The realm of another platform.",
            "CCA-13",
            whole(CcaToken(token.platform, foreign.realm)),
            [MAKER.key],
            "evidence.parts",
        ),
        "other-signer": (
            "The realm's token by another key.",
            "CCA-14",
            whole(CcaToken(token.platform, sign_token(device_key("x"), realm.to_bytes()))),
            [MAKER.key],
            "evidence.signature",
        ),
        "changed-challenge": (
            "An old token with a new challenge.",
            "CCA-14",
            whole(
                CcaToken(
                    token.platform,
                    replace(token.realm, payload=replace(realm, challenge=bytes(64)).to_bytes()),
                )
            ),
            [MAKER.key],
            "evidence.signature",
        ),
    }
    for name, (comment, clause, shown, endorsements, expect) in cases.items():
        case: dict[str, object] = {
            "comment": comment,
            "clause": clause,
            "expect": expect,
            "anchors": [MAKER.anchor.hex(), SMALL.anchor.hex()],
            "at": 0,
            "media_type": shown.media_type,
            "body": shown.body.hex(),
            "endorsements": [
                {"media_type": each.media_type, "text": each.body.decode("ascii")}
                for each in endorsements
            ],
        }
        if expect == "ok":
            case["debug"] = name == "ok-debug"
        (out / f"{name}.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
