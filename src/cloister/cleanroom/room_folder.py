"""A room's files on the machine of an owner or an operator; none of them is secret.

    code/terms.cbor          what both signed, and what is measured as the room's code
    policy.yaml              the policy that follows
    closing.yaml             the policy that ends the room
    trust.json               the authority of the room's certificates
    closing.<party>.txt      an owner's approval of that, which the other needs to end it alone

Everything but the terms can be made again from them, and is compared whenever it is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloister.cleanroom.agreement import Room, SignedTerms, load_room, read_bounded
from cloister.cleanroom.room_policy import TERMS_FILE, closing_policy_of, policy_of
from cloister.cleanroom.terms import PARTIES, Party
from cloister.errors import ConfigError
from cloister.keyservice.approvals import MAX_APPROVAL_BYTES, Approval
from cloister.keyservice.submissions import NamespaceFacts

__all__ = ["RoomFolder"]

_MAX_FILE_BYTES: Final = 1 << 20


class RoomFolder:
    """The folder, by its path; nothing is read or written before somebody asks."""

    def __init__(self, path: Path) -> None:
        """Name the folder."""
        self.path: Final = path
        self.code: Final = path / "code"
        self.terms: Final = self.code / TERMS_FILE
        self.policy: Final = path / "policy.yaml"
        self.closing: Final = path / "closing.yaml"
        self.trust: Final = path / "trust.json"

    def write(self, agreement: SignedTerms) -> None:
        """Write what follows from signed terms, or find it there already.

        Raises:
            ConfigError: Another room's files are there (`config.exists`).
        """
        files = {
            self.terms: agreement.to_bytes(),
            self.policy: policy_of(agreement).encode(),
            self.closing: closing_policy_of(agreement).encode(),
        }
        for path, data in files.items():
            if path.exists() and read_bounded(path, _MAX_FILE_BYTES) != data:
                raise ConfigError(
                    f"{path} is of another room",
                    code="config.exists",
                    hint="name another folder with --room",
                )
        self.code.mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            path.write_bytes(data)

    def write_trust(self, domain: str, service: str, facts: NamespaceFacts) -> None:
        """Write what receipts and the query enclave of the room are checked by.

        Args:
            domain: The trust domain's name.
            service: Public key of its key service.
            facts: What that says of the room's namespace.
        """
        record = {
            "name": domain,
            "identity": service,
            "namespace": facts.namespace,
            "ca": facts.ca.decode(),
        }
        self.trust.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def read(self) -> Room:
        """Return the room, whose files are what follows from its terms.

        Raises:
            ConfigError: A file is missing (`config.file`), or says something else than what follows
                (`config.value`).
            MalformedError: There are no signed terms.
            IdentityError: Not both owners signed them.
        """
        room = load_room(self.terms)
        strangers = [entry.name for entry in self.code.iterdir() if entry.name != TERMS_FILE]
        if strangers:
            raise ConfigError(
                f"{self.code} holds more than the terms: {strangers[0]}", code="config.value"
            )
        for path, text in (
            (self.policy, policy_of(room.agreement)),
            (self.closing, closing_policy_of(room.agreement)),
        ):
            if read_bounded(path, _MAX_FILE_BYTES) != text.encode():
                raise ConfigError(
                    f"{path} is not the policy that follows from the terms", code="config.value"
                )
        return room

    def closing_file(self, party: Party) -> Path:
        """Return where an owner's approval of the room's end lies."""
        return self.path / f"closing.{party.replace('_', '-')}.txt"

    def closing_approvals(self) -> Iterator[Approval]:
        """Yield the approvals of the room's end that are here; nobody has checked them."""
        for party in PARTIES:
            path = self.closing_file(party)
            if path.exists():
                yield Approval.from_text(read_bounded(path, 2 * MAX_APPROVAL_BYTES))
