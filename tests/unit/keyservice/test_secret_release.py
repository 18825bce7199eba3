"""What a workload's templates become, over records in memory."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, replace

import pytest

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.bundle import FileGrant
from cloister.keyservice.policy import Policy, canonical_bytes, policy_hash
from cloister.keyservice.policy.secret_rules import (
    AuthorityForm,
    CertificateForm,
    Exported,
    FileRule,
    ImportRule,
    KeyPairForm,
    OpaqueForm,
    SecretRule,
)
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.secret_records import SecretRecord
from cloister.keyservice.secret_release import MAX_RESOLVED_BYTES, Resolved, resolve
from cloister.keyservice.secret_values import make_value
from cloister.testing.policies import sample_policy

AT = 1_800_000_000
DAY = 86400
TOKEN = SecretRule(opaque=OpaqueForm(max_bytes=65536))
FAR = ImportRule(namespace="other", policy="source", secret="token")


@dataclass
class Memory:
    """Policies and values by name."""

    policies: dict[tuple[str, str], Policy] = field(default_factory=dict)
    values: dict[tuple[str, str, str, int], SecretRecord] = field(default_factory=dict)

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        found = self.policies.get((namespace, name))
        if found is None:
            return None
        data = canonical_bytes(found)
        return PolicyRecord(policy_hash(found), data, namespace, name, current=True, at=AT)

    def secret(self, namespace: str, policy: str, name: str, epoch: int) -> SecretRecord | None:
        return self.values.get((namespace, policy, name, epoch))

    def put(
        self, policy: Policy, name: str, kind: str, epoch: int = 1, **parts: bytes
    ) -> SecretRecord:
        """Keep a value."""
        record = SecretRecord(policy.namespace, policy.name, name, epoch, kind, parts, AT)
        self.values[policy.namespace, policy.name, name, epoch] = record
        return record


def policy(
    *,
    secrets: dict[str, SecretRule] | None = None,
    imports: dict[str, ImportRule] | None = None,
    variable: str = "",
    files: dict[str, FileRule] | None = None,
    command: tuple[str, ...] = ("python", "/code/train.py"),
) -> Policy:
    """The sample with these secrets and places for them."""
    sample = sample_policy()
    environment = {"V": variable} if variable else {}
    workload = replace(
        sample.workloads["train"], command=command, environment=environment, files=files
    )
    return replace(sample, secrets=secrets, imports=imports, workloads={"train": workload})


def release(given: Policy, memory: Memory, *, at: int = AT) -> Resolved:
    """Resolve the workload."""
    return resolve(given, given.workloads["train"], memory, at=at, passed=at)


def refused(given: Policy, memory: Memory, *, at: int = AT) -> ReleaseDeniedError:
    """The refusal."""
    with pytest.raises(ReleaseDeniedError) as e:
        release(given, memory, at=at)
    return e.value


@pytest.mark.spec("SEC-20", "SEC-40")
def test_secrets_stand_where_they_are_named() -> None:
    """In arguments, variables and files, by part and epoch."""
    given = policy(
        secrets={"t": replace(TOKEN, epoch=2, readable=(1,))},
        variable="<${secret:t}>$${",
        command=("python", "/code/train.py", "-k${secret:t@1.hex}"),
        files={"/run/a": FileRule(content="${secret:t.base64}\n"), "/b": FileRule(content="x")},
    )
    memory = Memory()
    memory.put(given, "t", "opaque", 1, value=b"\xff\x01")
    memory.put(given, "t", "opaque", 2, value=b"new")
    found = release(given, memory)
    assert found.command[-1] == "-kff01"
    assert found.environment == {"V": "<new>${"}
    assert found.files == {
        "/run/a": FileGrant(b"bmV3\n", 0o400),
        "/b": FileGrant(b"x", 0o400),
    }
    assert found.renewed == ()
    assert "new" not in repr(found) + repr(found.files["/run/a"])


@pytest.mark.spec("SEC-1", "SEC-20")
def test_without_secrets_texts_are_what_they_are() -> None:
    """Even where they look like templates."""
    given = policy(variable="${secret:t}$${", files={"/a": FileRule(content="$${", mode="0440")})
    found = release(given, Memory())
    assert found.environment == {"V": "${secret:t}$${"}
    assert found.files == {"/a": FileGrant(b"$${", 0o440)}


@pytest.mark.spec("SEC-41")
@pytest.mark.parametrize("text", ["${secret:t}", "${secret:t@7}", "${secret:nobody}"])
def test_what_is_not_there_is_refused(text: str) -> None:
    """A value that was not put, an epoch that does not resolve, a name that nobody declares."""
    given = policy(secrets={"t": TOKEN}, variable=text)
    memory = Memory()
    memory.put(given, "t", "opaque", 7, value=b"x")
    assert refused(given, memory).code == "release.secret-missing"


@pytest.mark.spec("SEC-43")
@pytest.mark.parametrize("value", [b"a\0b", b"\xff\xfe-not-text", b"x" * 65537])
def test_a_variable_is_text(value: bytes) -> None:
    """No zero byte, UTF-8, not too long; and the refusal shows nothing of the value."""
    given = policy(secrets={"t": TOKEN}, variable="${secret:t}")
    memory = Memory()
    memory.put(given, "t", "opaque", value=value)
    error = refused(given, memory)
    assert error.code == "release.secret-form"
    shown = "".join(traceback.format_exception(error))
    assert "not-text" not in shown
    assert "xxxx" not in shown


@pytest.mark.spec("SEC-43")
def test_a_release_has_room_for_so_much_and_no_more() -> None:
    """All results together."""
    count = MAX_RESOLVED_BYTES // 65536
    memory = Memory()
    for number, code in ((count - 1, ""), (count + 1, "release.secret-form")):
        content = "${secret:t}" * number
        given = policy(secrets={"t": TOKEN}, files={"/a": FileRule(content=content)})
        memory.put(given, "t", "opaque", value=b"x" * 65536)
        if code:
            assert refused(given, memory).code == code
        else:
            assert len(release(given, memory).files["/a"].content) == number * 65536


@pytest.mark.spec("SEC-43")
def test_an_imported_secret_has_the_part_or_is_refused() -> None:
    """The importer's lint cannot know the kind; an authority's key has no part at all."""
    source = replace(
        policy(), namespace="other", name="source",
        secrets={"token": SecretRule(
            authority=AuthorityForm(common_name="x", lifetime_days=1),
            export=(Exported(namespace="clinic", policy="digits"),),
        )},
    )  # fmt: skip
    memory = Memory({("other", "source"): source})
    memory.put(source, "token", "authority", private=b"KEY", public=b"P", certificate=b"C")
    given = policy(imports={"far": FAR}, variable="${secret:far.private}")
    assert refused(given, memory).code == "release.secret-form"
    given = policy(imports={"far": FAR}, variable="${secret:far.certificate}")
    assert release(given, memory).environment == {"V": "C"}


def test_a_value_of_an_older_kind_has_that_kinds_parts() -> None:
    """An epoch may change the kind; the older one keeps its own."""
    rule = SecretRule(key_pair=KeyPairForm(algorithm="ed25519"), epoch=2, readable=(1,))
    given = policy(secrets={"t": rule}, variable="${secret:t@1.private}")
    memory = Memory()
    memory.put(given, "t", "opaque", 1, value=b"x")
    assert refused(given, memory).code == "release.secret-form"


@pytest.mark.spec("SEC-42")
def test_an_import_needs_the_export_of_the_moment() -> None:
    """No policy, no secret, no export, an export to others: one refusal in one sentence."""
    given = policy(imports={"far": FAR}, variable="${secret:far}")
    here = Exported(namespace="clinic", policy="digits")
    memory = Memory()
    sentences = {str(refused(given, memory))}
    for secrets in (
        None,
        {"other": replace(TOKEN, export=(here,))},
        {"token": TOKEN},
        {"token": replace(TOKEN, export=(Exported(namespace="clinic", policy="other"),))},
        {"token": replace(TOKEN, export=(Exported(namespace="lab", policy="digits"),))},
    ):
        source = replace(policy(secrets=secrets), namespace="other", name="source")
        memory.policies["other", "source"] = source
        memory.put(source, "token", "opaque", value=b"far away")
        error = refused(given, memory)
        assert error.code == "release.secret-not-exported"
        sentences.add(str(error))
    assert len(sentences) == 1
    granted = replace(
        policy(secrets={"token": replace(TOKEN, export=(here,))}), namespace="other", name="source"
    )
    memory.policies["other", "source"] = granted
    assert release(given, memory).environment == {"V": "far away"}


@pytest.mark.spec("SEC-21")
def test_a_secret_of_ones_own_comes_before_an_import() -> None:
    """Lint refuses such a policy; a release is not confused by it."""
    given = policy(secrets={"far": TOKEN}, imports={"far": FAR}, variable="${secret:far}")
    memory = Memory()
    memory.put(given, "far", "opaque", value=b"own")
    assert release(given, memory).environment == {"V": "own"}


@pytest.mark.spec("SEC-6", "SEC-44")
def test_a_certificate_is_issued_again_once() -> None:
    """Every place has the same one, and the caller gets it to keep."""
    form = CertificateForm(authority="ca", lifetime_days=30, dns=("a.example",))
    secrets = {
        "ca": SecretRule(authority=AuthorityForm(common_name="x", lifetime_days=100)),
        "tls": SecretRule(certificate=form),
    }
    given = policy(secrets=secrets, variable="${secret:tls.certificate}|${secret:tls.chain}")
    memory = Memory()
    ca = make_value(secrets["ca"], authority=None, at=AT)
    tls = make_value(secrets["tls"], authority=ca, at=AT)
    memory.put(given, "ca", "authority", **ca)
    memory.put(given, "tls", "certificate", **tls)
    assert release(given, memory).renewed == ()
    found = release(given, memory, at=AT + 25 * DAY)
    (renewed,) = found.renewed
    assert renewed.parts["private"] == tls["private"]
    certificate, _, chain = found.environment["V"].partition("|")
    assert certificate.encode() == renewed.parts["certificate"] != tls["certificate"]
    assert chain.startswith(certificate)
    assert refused(given, memory, at=AT + 100 * DAY).code == "release.secret-expired"
    del memory.values["clinic", "digits", "ca", 1]
    assert refused(given, memory).code == "release.secret-missing"
