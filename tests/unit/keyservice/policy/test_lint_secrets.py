"""What lint says of secrets, templates and files, each with its line."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.lint import Finding, lint_text, require_sound
from cloister.testing.policies import sample_text

SECRETS = """
secrets:
  db: {password: {length: 24, alphabet: abcdefghijklmnopqrstuvwxyz}}
  seed: {symmetric: {bytes: 32}, epoch: 3, readable: [1]}
  pair: {key_pair: {algorithm: x25519}}
"""


def text_with(
    *, value: str = "", command: str = "", files: str = "", top: str = SECRETS, use: bool = True
) -> str:
    """The sample, with one variable, argument or file more."""
    text = sample_text()
    if value:
        text = text.replace('OMP_NUM_THREADS: "1"', f"TOKEN: {value!r}", 1)
    if command:
        text = text.replace('"--epochs", "3"]', f"{command!r}]", 1)
    if files:
        text = text.replace("    listen: {}\n", f"    listen: {{}}\n    files:\n{files}", 1)
    if use:
        text = text.replace(
            "KERAS_BACKEND: tensorflow",
            'KERAS_BACKEND: "${secret:db}${secret:seed.hex}${secret:pair.public}"',
            1,
        )
    return text + top


def findings(text: str) -> list[Finding]:
    """What lint finds about secrets and files."""
    found = lint_text(text.encode(), source="p.yaml")
    return [
        f for f in found if f.code.startswith(("lint.secret", "lint.file", "lint.export", "policy"))
    ]


def only(text: str, code: str, severity: str = "error") -> Finding:
    """The one finding; errors are refused at apply as well."""
    (found,) = findings(text)
    assert (found.code, found.severity) == (code, severity), found
    assert found.line > 1
    policy = parse_policy(text.encode(), source="p.yaml")
    if severity == "error":
        with pytest.raises(MalformedError) as e:
            require_sound(policy)
        assert e.value.code == "policy.invalid"
    else:
        require_sound(policy)
    return found


def test_a_good_policy_has_no_finding() -> None:
    """Used secrets, known parts, readable epochs."""
    assert findings(text_with(value="${secret:seed@1.base64}")) == []


@pytest.mark.spec("SEC-23")
@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("${secret:db", "lint.secret-template"),
        ("${secret:DB}", "lint.secret-template"),
        ("${secret:other}", "lint.secret-unknown"),
        ("${secret:db.private}", "lint.secret-part"),
        ("${secret:pair}", "lint.secret-part"),
        ("${secret:db@2}", "lint.secret-epoch"),
        ("${secret:seed@2.hex}", "lint.secret-epoch"),
        ("${secret:seed}", "lint.secret-binary"),
    ],
)
def test_a_bad_reference_is_an_error_with_its_line(value: str, code: str) -> None:
    """Unterminated, unknown, of another kind, of an erased epoch, or no text."""
    text = text_with(value=value)
    found = only(text, code)
    assert text.splitlines()[found.line - 1].strip().startswith("TOKEN:")


@pytest.mark.spec("SEC-20")
def test_without_secrets_nothing_is_special() -> None:
    """The same text is literal in a policy that has neither secrets nor imports."""
    assert findings(text_with(value="${secret:db", top="", use=False)) == []


@pytest.mark.spec("SEC-25")
def test_a_secret_in_the_command_is_a_warning() -> None:
    """The operator can read argv."""
    only(text_with(command="--token=${secret:db}"), "lint.secret-in-command", "warning")


@pytest.mark.spec("SEC-25")
def test_the_program_is_no_secret() -> None:
    """What runs is named in plain."""
    text = (
        text_with()
        .replace('"/code/train.py"', '"-m", "x"', 1)
        .replace("[python,", "['/${secret:db}',", 1)
    )
    assert "lint.secret-program" in {f.code for f in findings(text)}


def test_a_variable_that_names_a_secret_is_not_taken_for_one() -> None:
    """Its value stands in no policy."""
    found = lint_text(text_with(value="${secret:db}").encode(), source="p.yaml")
    assert "lint.environment-secret" not in {f.code for f in found}
    found = lint_text(text_with(value="plain").encode(), source="p.yaml")
    assert "lint.environment-secret" in {f.code for f in found}


@pytest.mark.spec("SEC-10")
@pytest.mark.parametrize(
    ("top", "code", "severity"),
    [
        ("  x: {opaque: {max_bytes: 9}, epoch: 2, readable: [2],\n"
         "      export: [{namespace: a, policy: b}]}\n", "lint.secret-readable", "error"),
        ("  x: {certificate: {authority: db, lifetime_days: 1, dns: [a]},\n"
         "      export: [{namespace: a, policy: b}]}\n", "lint.secret-authority", "error"),
        ("  ca: {authority: {common_name: a, lifetime_days: 9}}\n"
         "  x: {certificate: {authority: ca, lifetime_days: 1},\n"
         "      export: [{namespace: a, policy: b}]}\n", "lint.secret-nameless", "error"),
        ("  x: {password: {length: 8, alphabet: abcdefghij},\n"
         "      export: [{namespace: a, policy: b}]}\n", "lint.secret-weak", "warning"),
        ("  x: {opaque: {max_bytes: 9}}\n", "lint.secret-unused", "warning"),
    ],
)  # fmt: skip
def test_a_bad_rule_is_found(top: str, code: str, severity: str) -> None:
    """Epochs, authorities, names, strength and use."""
    only(text_with(top=SECRETS + top), code, severity)


@pytest.mark.spec("SEC-12")
def test_an_import_has_a_name_of_its_own_and_is_used() -> None:
    """And its parts are those of some kind; which one is known at the release only."""
    imports = "imports:\n  {}: {{namespace: lab, policy: other, secret: x}}\n"
    only(text_with(top=SECRETS + imports.format("db")), "lint.secret-twice")
    only(text_with(top=SECRETS + imports.format("far")), "lint.secret-unused", "warning")
    top = SECRETS + imports.format("far")
    only(text_with(value="${secret:far.nothing}", top=top), "lint.secret-part")
    assert findings(text_with(value="${secret:far@9.chain}", top=top)) == []


@pytest.mark.spec("SEC-13")
@pytest.mark.parametrize(
    "path",
    ["/usr/x", "/proc/x", "/dev/x", "/code/x", "/data/x", "/data", "/run/cloister/x", "/run",
     "/etc", "/usr", "/model/deep/er"],
)  # fmt: skip
def test_a_file_has_a_place_of_its_own(path: str) -> None:
    """Not on a volume, nor over the system, nor among the launcher's own."""
    only(text_with(files=f"      {path}: {{content: x}}\n"), "lint.file-place")


@pytest.mark.spec("SEC-13")
def test_a_file_is_no_folder_of_another() -> None:
    """Two files, one below the other."""
    files = "      /run/a: {content: x}\n      /run/a/b: {content: x}\n"
    assert only(text_with(files=files), "lint.file-place").path.endswith("[/run/a]")
    fine = "      /run/a/b: {content: x}\n      /etc/app/c: {content: x, mode: '0440'}\n"
    assert findings(text_with(files=fine)) == []


KEY, DIGEST = "ed25519:" + "e5" * 32, "sha256:" + "d4" * 32
ENTRY = (
    f'{{service: "{KEY}", trust_domain: near.test, namespace: lab, policy: keeper, '
    f'root_of_trust: sim, anchors: ["{KEY}"], measurement: ["{DIGEST}"], minimum_svn: 2, '
    "debug: refused, lifetime: 600}"
)


@pytest.mark.spec("EXP-2")
def test_an_export_to_a_service_is_one_rule_for_a_value_that_stays() -> None:
    """No certificate, no second entry for the same policy; an inspectable platform is a warning."""
    export = "  x: {opaque: {max_bytes: 9}, export: [ENTRIES]}\n"

    def with_entries(*entries: str) -> str:
        return text_with(top=SECRETS + export.replace("ENTRIES", ", ".join(entries)))

    plain = "{namespace: a, policy: b}"
    assert findings(with_entries(ENTRY, plain, ENTRY.replace("keeper", "other"))) == []
    found = only(with_entries(ENTRY, plain, ENTRY.replace("600", "700")), "lint.export-twice")
    assert found.path == "secrets.x.export[2]"
    only(with_entries(ENTRY.replace("debug: refused", "debug: accepted")), "lint.export-debug",
         "warning")  # fmt: skip
    certificate = (
        "  ca: {authority: {common_name: a, lifetime_days: 9}}\n"
        f"  x: {{certificate: {{authority: ca, lifetime_days: 1, dns: [a]}}, export: [{ENTRY}]}}\n"
    )
    only(text_with(top=SECRETS + certificate), "lint.export-renewed")
