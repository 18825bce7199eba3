"""What a confidential guest is configured with at its start, and how its evidence names that.

The host hands the init data over, so it is untrusted; its digest is in the report that the
processor signs. A release policy that names this digest thereby names the rules that the guest's
agent keeps: which image it starts, with which arguments, and that nobody opens a shell in it. Pure.

The form is that of Confidential Containers, version 0.1.0.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloister.crypto.digest import sha256, sha384
from cloister.errors import ConfigError

__all__ = ["ANNOTATION", "InitData", "Root", "init_data"]

Root = Literal["tdx", "snp"]

ANNOTATION: Final = "io.katacontainers.config.hypervisor.cc_init_data"
_VERSION: Final = "0.1.0"
_QUOTES: Final = "'''"
# The register has as many bytes as the digest; another one would be cut or padded on the way there.
_DIGESTS: Final[Mapping[Root, tuple[str, Callable[[bytes], bytes], str]]] = {
    "tdx": ("sha384", sha384, "mr_config_id"),
    "snp": ("sha256", sha256, "host_data"),
}
# Cloister attests to its own key service, so the guest's agents are told of none.
_AGENT: Final = "[token_configs]\n"
_DATA_HUB: Final = """\
socket = "unix:///run/confidential-containers/cdh.sock"
credentials = []

[kbc]
name = "offline_fs_kbc"
url = ""
"""


@dataclass(frozen=True, slots=True)
class InitData:
    """Init data for one kind of processor.

    Attributes:
        text: The TOML, as it is hashed.
        claim: The claim of evidence that has its digest.
        digest: That digest in hex.
    """

    text: str
    claim: str
    digest: str

    @property
    def annotation(self) -> str:
        """The value of the annotation; the same bytes each time."""
        packed = gzip.compress(self.text.encode(), compresslevel=9, mtime=0)
        return base64.b64encode(packed).decode()


def init_data(root: Root, *, agent_policy: str) -> InitData:
    """Return the init data that carries an agent policy.

    Args:
        root: Whose evidence will name it.
        agent_policy: Rego, for the guest's agent.

    Raises:
        ConfigError: The policy cannot be carried (`config.value`).
    """
    algorithm, hashed, claim = _DIGESTS[root]
    files = {"aa.toml": _AGENT, "cdh.toml": _DATA_HUB, "policy.rego": agent_policy}
    lines = [f'version = "{_VERSION}"', f'algorithm = "{algorithm}"', "", "[data]"]
    for name, content in files.items():
        if _QUOTES in content or any(c < " " and c not in "\n\t" for c in content):
            raise ConfigError(
                f"{name} has {_QUOTES} or a control character, which init data cannot carry",
                code="config.value",
            )
        lines.append(f'"{name}" = {_QUOTES}\n{content}{_QUOTES}')
    text = "\n".join(lines) + "\n"
    return InitData(text, claim, hashed(text.encode()).hex())
