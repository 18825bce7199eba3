"""Which further platform may open a running service's state, and who must watch then. Pure.

Counters of two platforms know nothing of each other: an operator with two could serve two copies of
one state. So a second platform comes only together with witnesses, more than half of whom see each
change before it is answered; two copies would have to show them two logs.

Spec: keyservice-recovery-v1, clauses BR-40 to BR-45.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import digest_from_text, digest_to_text
from cloister.crypto.signature import VerifyingKey
from cloister.errors import MalformedError, UnavailableError
from cloister.keyservice.approvals import Subject
from cloister.keyservice.cosigning import Quorum, WitnessKey
from cloister.keyservice.genuine import ServiceReference
from cloister.keyservice.platform_records import Admitted
from cloister.keyservice.statements import Statement, read_statement, write_statement

__all__ = ["PLATFORM", "Admission", "require_watched"]

PLATFORM: Final = "cloister/keyservice-platform/v1"
_MAX_LIST: Final = 16
_LAST_INSTANT: Final = 1 << 40
_MAX_SVN: Final = 65535


@dataclass(frozen=True, slots=True)
class Admission:
    """One more platform, as the root's approvers sign it.

    Attributes:
        service: The key service.
        platform: The new platform.
        root_of_trust: Whose evidence counts, such as `sim`.
        measurements: Images of Cloister that may open the state there.
        minimum_svn: Lowest security version of the platform.
        quorum: Who watches from then on, and how many of them are required.
        at: When it was proposed, in seconds since the epoch.
    """

    service: VerifyingKey
    platform: VerifyingKey
    root_of_trust: str
    measurements: tuple[bytes, ...]
    minimum_svn: int
    quorum: Quorum
    at: int

    def __post_init__(self) -> None:
        """Images to compare with, and witnesses of whom two quorums always share one."""
        count = len(self.quorum.witnesses)
        if not 0 < len(self.measurements) <= _MAX_LIST or not 0 < count <= _MAX_LIST:
            raise MalformedError(
                "an admission names images and witnesses", code="message.malformed"
            )
        if 2 * self.quorum.required <= count:
            raise MalformedError(
                f"{self.quorum.required} of {count} witnesses could see one log, and the others "
                "another: more than half are needed",
                code="message.malformed",
            )

    def to_text(self) -> bytes:
        """Return the file that approvers read and sign."""
        return write_statement(self._tree())

    @classmethod
    def from_text(cls, text: bytes) -> Admission:
        """Read such a file.

        Raises:
            MalformedError: It is none (`message.malformed`).
            ConfigError: Its witnesses cannot be required (`config.value`).
        """
        found = read_statement(text, PLATFORM)
        admission = cls(
            found.key("service"),
            found.key("platform"),
            found.text("root_of_trust", max_length=32),
            tuple(digest_from_text(each) for each in found.texts("measurements")),
            found.integer("minimum_svn", maximum=_MAX_SVN),
            Quorum(
                tuple(WitnessKey.from_text(each) for each in found.texts("witnesses")),
                found.integer("quorum", minimum=1, maximum=_MAX_LIST),
            ),
            found.integer("at", maximum=_LAST_INSTANT),
        )
        found.end()
        return admission

    @property
    def subject(self) -> Subject:
        """What approvers sign."""
        return Statement(self._tree()).subject(self.service.raw, kind="platform")

    @property
    def reference(self) -> ServiceReference:
        """What the new platform must prove."""
        return ServiceReference(
            root_of_trust=self.root_of_trust,
            anchors=(self.platform,),
            measurements=self.measurements,
            minimum_svn=self.minimum_svn,
            debug=False,
        )

    def after(self, present: Admitted | None, *, first: VerifyingKey) -> Admitted:
        """Return what the state says when this platform was admitted.

        Args:
            present: What it says now; None for one platform.
            first: The platform that admits.
        """
        before = (first.raw,) if present is None else present.platforms
        platforms = dict.fromkeys((*before, self.platform.raw))
        texts = tuple(sorted(witness.text for witness in self.quorum.witnesses))
        return Admitted(tuple(platforms), texts, self.quorum.required)

    def _tree(self) -> dict[str, str | int | list[str]]:
        return {
            "statement": PLATFORM,
            "service": self.service.text,
            "platform": self.platform.text,
            "root_of_trust": self.root_of_trust,
            "measurements": [digest_to_text(each) for each in self.measurements],
            "minimum_svn": self.minimum_svn,
            "witnesses": [witness.text for witness in self.quorum.witnesses],
            "quorum": self.quorum.required,
            "at": self.at,
        }


def require_watched(present: Admitted | None, quorum: Quorum | None) -> None:
    """Raise where a state of several platforms is served without the witnesses that it names.

    Args:
        present: What the state says of its platforms.
        quorum: The witnesses that this replica shows each change to; None for nobody.

    Raises:
        UnavailableError: Others, fewer, or none (`keyservice.witnesses`).
    """
    if present is None:
        return
    texts = () if quorum is None else tuple(sorted(each.text for each in quorum.witnesses))
    required = 0 if quorum is None else quorum.required
    if texts != present.witnesses or required < present.quorum:
        raise UnavailableError(
            f"a service on several platforms answers nothing that {present.quorum} of its "
            f"{len(present.witnesses)} witnesses have not seen",
            code="keyservice.witnesses",
            detail=f"configured: {required} of {texts}",
            hint="start every replica with --witness for each of them, and --witness-quorum",
        )
