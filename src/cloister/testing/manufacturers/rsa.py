"""RSA keys and signatures that a seed decides, for simulated manufacturers; useless elsewhere.

The primes are public: whoever reads this file can sign for every key made here. Signatures are
deterministic, so that what a simulated manufacturer mints can be minted again.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["SeededRsaKey"]

_EXPONENT: Final = 65537
_SALT_BYTES: Final = 48


class SeededRsaKey:
    """A 2048-bit key; two names, or two seeds, give the same one with a chance of 1 in 276."""

    def __init__(self, seed: bytes, name: str) -> None:
        """Pick two primes."""
        p, q = _pick(seed, name)
        self._p, self._q = p, q
        self.modulus: Final = p * q
        self.exponent: Final = _EXPONENT
        self._private = pow(_EXPONENT, -1, (p - 1) * (q - 1))
        self._key = _key(p, q)

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign_pkcs1(self, message: bytes) -> bytes:
        """Sign with RSASSA-PKCS1-v1_5 and SHA-256."""
        return self._key.sign(message, padding.PKCS1v15(), SHA256())

    def sign_pss(self, message: bytes, digest: str = "sha384") -> bytes:
        """Sign with RSASSA-PSS (RFC 8017, section 9.1.1); the salt comes from the message."""
        salt_bytes = min(_SALT_BYTES, hashlib.new(digest).digest_size)
        hashed = hashlib.new(digest, message).digest()
        salt = hashlib.new(digest, b"salt" + hashed).digest()[:salt_bytes]
        proof = hashlib.new(digest, bytes(8) + hashed + salt).digest()
        size = (self.modulus.bit_length() + 7) // 8
        block = (b"\x01" + salt).rjust(size - len(proof) - 1, b"\0")
        mask = _mask(proof, len(block), digest)
        masked = bytearray(a ^ b for a, b in zip(block, mask, strict=True))
        masked[0] &= 0x7F
        encoded = int.from_bytes(bytes(masked) + proof + b"\xbc")
        return self._power(encoded).to_bytes(size, "big")

    def _power(self, number: int) -> int:
        """Raise to the private exponent, by the Chinese remainder theorem."""
        p, q = self._p, self._q
        left = pow(number, self._private % (p - 1), p)
        right = pow(number, self._private % (q - 1), q)
        return right + q * ((left - right) * pow(q, -1, p) % p)


def _mask(seed: bytes, length: int, digest: str) -> bytes:
    blocks = range(length // hashlib.new(digest).digest_size + 1)
    counters = (counter.to_bytes(4, "big") for counter in blocks)
    return b"".join(hashlib.new(digest, seed + each).digest() for each in counters)[:length]


def _pick(seed: bytes, name: str) -> tuple[int, int]:
    number = int.from_bytes(hashlib.sha256(seed + b"/" + name.encode()).digest())
    first = number % len(_PRIMES)
    second = (first + 1 + number // len(_PRIMES) % (len(_PRIMES) - 1)) % len(_PRIMES)
    return int(_PRIMES[first], 16), int(_PRIMES[second], 16)


@cache
def _key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, p * q),
    ).private_key(unsafe_skip_rsa_key_validation=True)


_PRIMES: Final = (
    (
        "f4621b2b48e029876558cb8e829b1759c697fa916865c6a5fcc6efe3a2cf1fb31ed8526a4863ca9e971668c7"
        "48c06c404a43c00de56d112f49626ed7d5861a12cbb6518722e82f4e16d858e08cdfd556850f7702bf2d543a"
        "ad151b7c1d2d878077d741e1804098c557dc7d74de722d0ad57234294d9dbf99e3c0ebc4b56df46f"
    ),
    (
        "e4bc9be8cbf9924fa4911e12d15c03d99d063cd225044ef4e2e2994ea203b30198b0f67ff1b4346bb4621fcd"
        "f12dd32aa17c1b8a91041652521c6030d81f7b4ca1e45cac10295510e5ed126cdbe1e5330f35c17575e486fd"
        "8f46c23d919db99279ac402ad89c902bd83bcb6e9b95ca901b3bb1308a41d4aacb7954893fc64ead"
    ),
    (
        "f31fa5f8e796cb3e4f55b586b0e29d443ca4e1ea87fc68d76d246632e317346e3e09bbbc3755347b0df2cb7d"
        "3f59e03d62c9c25ac3d8cbda6564a64e9064d858c7f18fa768a0ad1f693c2cfaace775f9c3680ce37b59fc31"
        "20c8565bab6140dbdd28c614d3ecbe54ba15d13f4d50cd41a966677bf88227ef1c8a21db786995a7"
    ),
    (
        "f18c3754d9e9fc688bca048a516f77704e35998fee042e435ff2b56bcf7c76cc2fed68251d9311b5a6ee1a3a"
        "e388c5f7f37d851ba12e642a086f20e26adf76c8b3d614a8459aad5dc63dc20b909a2c5577658bd8159fbcfd"
        "c261849149664f3ebecdbb4e4822c079a7dbb65baa8e462bd9c6b7b6cacaea0ad9e3cb427e2ffa85"
    ),
    (
        "ea79aa91afa317b1dd8d407b3a177014e9a270e2b8dac19c13a87e053eeac1d5f158b42b55d7f8c4ed485f51"
        "a65108e12c4f7e0a9a0f6d36de9c6d397f9a9e37b37fc8972e61c1d286d0513d85b120891be2577351bbd871"
        "0782618826a45064cc8da126440919d44d7594a4cf9dac035256976b515ad3deb877da2278f78b7d"
    ),
    (
        "c1c06fb23794f3e2d697b68057ccaa4dcac87ec3735e629eb1529f3166e3c04b5fa5649f05868f2904551865"
        "726f3ff8df676ef18cbe3bf7d0669cba50af0becb4d0ee3c726a0f0f9561f2b8d710b09890e6689700b2ea6f"
        "5fe49b6d0bf19145b288862f0b55d26c9a17578d63e5a175be3cf569e5ce68cc5c87b215bef2e25d"
    ),
    (
        "f2e86bd2b51c4b30138bb3c86f3f2c7fd76214bb854cffd2387896f612e19dc9eefa0c8d4149a724ee19e354"
        "08d31c55bacfb9b600a53d4731f90f4514547bb96996d5b09d0bce76c6d53b10b5644f5ddd93c8da40d1e2c5"
        "273fea92d3a14543fe1c1988f875edd8c6f0cc0a53b3d750bd6eed5aaf136a005998834663ec75f9"
    ),
    (
        "c25567c29da03c15d026fb2a3e682cbc4522e429c6602bf6413bb4d80415e01d9b9c54bd09c6f4ae56f253b3"
        "934fdcaffda09a5c95d0f08b218fb569f1abcf5529f2953863812f0123db0d608efccc7cf1a0eda323a98a27"
        "c274bec9aead2a82da9a0863e6a24b57f00467d11bc2c4ba623652b7aaa151b5f35198d048027d75"
    ),
    (
        "de063cf6eb3dee3ddc73ac85584b61f6fb181325cf51073cb9ea692a3145209b1005ddb450aee93319b3cb3f"
        "45489f6892fa38592419e7c0652af6ac0024c01049f7d2fec567d8717744902dce2af6d80237307a899d089c"
        "a1dbef3c05e488a5e777ac0afea968ab68f6d40341ffc92419dc7d5944aa956e36a6c626f5f7e7d3"
    ),
    (
        "c19e0183af2b9bec2e56d59a809ce06994a00c268a1d4b1ec49e8ee897b5df04f509f31da05eb8b51e434f25"
        "af35f93c6cc4504f39ae6a15db2c41db10c8600cfb2a01c0cd58a3dfea90937371c58274669e1dfc581c3baf"
        "90f3a1f6485b6a0489cd23ef3307ee65a6d5e8ba6a5b75bc1b5bd920d3d975b811dcefa14b8bb60d"
    ),
    (
        "f7b4c8a83e2d440a4eb9f17a96128fb607a1fa5cdb110f250174ce8c81ad3fad6bceb3b74f01845a269227c3"
        "c88abbd386528ba3676900497aada90ea87930b0322017a32dd2eff4318b2a9ee0e0d8d6106570260bc4a233"
        "1834b603cae6445ad1b5ff09b196932d32e2729feb1c13e9f589118da31f581f0f9255901383e4d3"
    ),
    (
        "d8762655ed8985deb3bc08b197e6a24cd392c998be9dc72a5acea52d32ac61ce1ef3a8f7a8349754bd25982a"
        "b64d4fb308a0c34dbeca5231d1a16e1d755051c1806d915d0f34c838bf8d199ba40aa14b97937a5b84ff0e10"
        "41177588e5e5e7cb0644d3d605e4e4ad1e64bb78a5a6cd058d9cb986f40c01f116ef8f48900d0551"
    ),
    (
        "e0a91b70ca98e9c57dd9b06984174646127353f3ae925b6fc4b32f20719323dde1a95544ce8a601f7b8f3526"
        "cbb112efdb9ec1d0e19cd2c8ae739694788fac5041c4d3a4d6b160eed3a9588f5eefc359cdd4061734dd7457"
        "a73fe93b2ec4f8d4143b762cb119910dcb260feb7aaf0fc85dc574ef9704e5723a26fab3e7cf75d3"
    ),
    (
        "b54d9a0d61b4fdcf65b73d8d789670e6fbdf95c84798ca3ea05c245ea0102dc255fa78f509365e912ffee66d"
        "e1d880a8c30801778e2baae9204ef1397de2e6f9a878598e9fd5fe521dd7a9d3e38efa338d967ac994dc8db4"
        "215f0ad20789ecca37d65122619e4d7a02f17de488bb931c7f81fbc818daafe923d5901ad62b0cd3"
    ),
    (
        "f9724b7e6cecf4ee5b04bc88baaad44f2c7a35c3fe2f385d54c75e2018e0a9144e7df643253f9580346cee9d"
        "06479accbb42a9ccde335b84933386ca6d4e45e884c40fbe735828c3bbde271f176545dd6609caef5df42a5b"
        "e981e607d8451afea4ebaa9141cd843b85adab088edc99839d3a636be19705eca4ead2bed1203343"
    ),
    (
        "c48497bc9b7975e796f471b7993c789f099995c9aed80a63ce2c4da0ff06cf8fec4e1304571669b2a69a9267"
        "543eff1fb5eff7513122158f6e692097bfb19155e24bfd0dd6c86b7b762181fc040592b226bd9463fdeab029"
        "49f4ce64aa9c54ede7ecdd44b5e950bb2f90e6f113d9f6c26ab542cb0cafa364b83188acec3e5ee3"
    ),
    (
        "f9bc7a189597086cdcfc6625f4b89110b8d9e8684013cad467c2c66014422cc2b11aad89cda577d7f8e271c9"
        "ef2e26601537adcc45b7967a73668ba7a90ca47dacb6a83fda672979b160690c2f18e157d5bf48e096339370"
        "f63789fe822691aebe19686e04d681b3ea6a29dd3e1d1594175773a32a73aa0f798c2e193a335d13"
    ),
    (
        "d95bebf999f9d960090cbf318433b70f6ee08e1a66b98b966c218b71e9ded8200f250637b36081c646c11c36"
        "6bdd74de0cc6ec04e981ebd854287c4318b3afa7ab6e537fe7b697986e5901eca177a6a1f774b6e7860187a7"
        "09836c5fb187fcb86e72ea0baa63df2fef5fbe51b63a8237f4b936717b34538fd0e7965ae559f73d"
    ),
    (
        "dbbeb2dcea2761b1d8f6c84fee6de65847ce0412fd0de2c056abee99af2abdc46189541ebd8167680fcd5e71"
        "7f94b0599326e462a2334906dfa8b5aa1639e58d0183b75ac97a8f9ab01870b1a3293c08c27754492f891135"
        "e3470c44da25d15963aab4519ce0df207b832e1148bfa6a05c301d32e79c82691f894c906cd9f5ff"
    ),
    (
        "cf41911a4310ee664d18096608d32583e5084f4e49d501eca51eec73262f3133dfa88f468cf52726213b214c"
        "c82638cb1a34c050276faad5142d8d62b9a592da80a1c402d1bed77f5277a437867fab45fd0b140ef145ef01"
        "3f930ba8d7e4a510f939fc16c448be1a16bb91ab0afeca59e07041b972502d80f2870b52739715d1"
    ),
    (
        "e25a74461dbd131fcf31a066b4c1a1242a81afc37e000826e3cec8fdcc0cd4ec5af279021553ab367ec22b80"
        "bb4157686380ce33e6452b8d8d2a58ec18292bc984863d790c29b5e26b32cc6102a49b35f1ae8cc029620023"
        "d3e50ff6a4723831f51e6198c9c8262998cc2dc52e65e53fec30d848401598167eb790d874c0ace1"
    ),
    (
        "ce48a7c4f224fe755d51a23151b8ac99b0a57f4bbf62b66cd52dcea4d8ee56c50d6d9f966dde8d0fc746a299"
        "783308cbc102eaad1895dfe850ae8341eebc8efc1e684d8f4da9e474a0efe5c2cf0933a1874eaa151a457e38"
        "0b52f20df53008abdb6b7283d9d75836d0a9bfc10121048bd9bf67afe05a62ee9ef92e024a421c27"
    ),
    (
        "fb7b25db434e6cc58567f7dd7fe7aac768b62e47fddb42a7a38ad04e33b1f50d68af62ab1854a6dcd8810ba1"
        "114ea00ca9e6bce6fea35c55758f6ac5466b8806f9fff6a3a9779bbe61faad3f4d29aaea5de1e6a070d93fd8"
        "836eff2d3afbbedb2c8021f53bc181a643037cc5a4fe8c1e4ac8756520e03dc41f4c186b9a6a06f5"
    ),
    (
        "c8126b8b4d792ea9e534a1ccaddfb07d18824ca5900f7bce69749dbd913b83ce98ae0029095e1e0a9502c631"
        "000767e5d2dd9b2ed633f0d19e042ef6ab1b68e624db61a195f529ed7b196a0df247ef463accae85b7d8db82"
        "b2dda0630c9b85ba51915ddcef89b672710d5a5b3f6e05c95c37016c62aa9e0cc48a4a62fa5fe981"
    ),
)
