"""What each field of a policy may hold."""

from dataclasses import fields

import pytest

from cloister.keyservice.policy import kinds, model, network_rules, schema, secret_rules
from cloister.keyservice.policy.evidence_roots import POLICY_KINDS, EvidenceRootKind
from cloister.keyservice.policy.node import Problems, node_from_value
from cloister.keyservice.policy.reader import diagnose
from cloister.testing.policies import sample_text

CASES = [
    ("name: digits", "name: Digits", "name", "lower case would do: 'digits'"),
    ("name: digits", "name: -digits", "name", ""),
    ("name: digits", f"name: {'a' * 64}", "name", ""),
    ("name: digits", 'name: ""', "name", ""),
    ("name: digits", "name: [digits]", "name", ""),
    ("namespace: clinic", "namespace: a//b", "namespace", ""),
    ("policy: cloister/v1", "policy: cloister/v9", "policy", "did you mean 'cloister/v1'?"),
    ("predecessor: none", "predecessor: sha256:12", "predecessor", ""),
    ("predecessor: none", "predecessor: 'none\n\n\n'", "predecessor", ""),
    ("minimum_svn: 2", "minimum_svn: -1", "roots_of_trust.sim.minimum_svn", ""),
    ("minimum_svn: 2", "minimum_svn: 65536", "roots_of_trust.sim.minimum_svn", ""),
    ("minimum_svn: 2", 'minimum_svn: "2"', "roots_of_trust.sim.minimum_svn", ""),
    ("minimum_svn: 2", "minimum_svn: {unchecked: x}",
     "roots_of_trust.sim.minimum_svn.unchecked", ""),
    (
        "minimum_svn: 2",
        "minimum_svn: unchecked",
        "roots_of_trust.sim.minimum_svn",
        "a reason is needed: {unchecked: <reason>}",
    ),
    ('"/data":', '"/data/..":', "workloads.train.volumes[/data/..]", ""),
    ('"/data":', '"/./data":', "workloads.train.volumes[/./data]", ""),
    ('"/data":', '"data":', "workloads.train.volumes.data", ""),
    ('"/data":', '"/":', "workloads.train.volumes[/]", ""),
    ('"/data":', '"/data/":', "workloads.train.volumes[/data/]", ""),
    ('"/data":', '"/a/b/c/d/e/f/g/h/i":', "workloads.train.volumes[/a/b/c/d/e/f/g/h/i]", ""),
    ("KERAS_BACKEND:", "KERAS-BACKEND:", "workloads.train.environment.KERAS-BACKEND", ""),
    ("code: {volume: code}", "code: {}", "workloads.train.code", ""),
    ("code: {volume: code}", "code: {volume: code, digests: []}", "workloads.train.code", ""),
    ("code: {volume: code}", "code: {digests: []}", "workloads.train.code.digests", ""),
    ("port: 0", "port: 65536", "workloads.serve.listen.rest.port", ""),
    (
        "spiffe://clinic.example/clinic/digits/client/*",
        "spiffe://clinic.example/clinic/digits/*/*",
        "workloads.serve.listen.rest.clients[0]",
        "",
    ),
    (
        "spiffe://clinic.example/clinic/digits/client/*",
        "spiffe://clinic.example/clinic/../client/*",
        "workloads.serve.listen.rest.clients[0]",
        "",
    ),
    ("root: latest", "root: newest", "volumes.data.root", ""),
    ("name: digits", "name: digits\ncertificate_lifetime: 59", "certificate_lifetime", ""),
    ("name: digits", "name: digits\ncertificate_lifetime: 86401", "certificate_lifetime", ""),
    ("code: {volume: code}", "code: {volume: code}\n    instances: {maximum: 0}",
     "workloads.train.instances.maximum", ""),
    ("code: {volume: code}", "code: {volume: code}\n    instances: {maximum: 1001}",
     "workloads.train.instances.maximum", ""),
    ("code: {volume: code}", "code: {volume: code}\n    instances: 3",
     "workloads.train.instances", ""),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "hint"), CASES)
@pytest.mark.spec("POL-10", "POL-11", "POL-13", "POL-14", "POL-17")
def test_a_value_outside_its_field_is_refused_at_its_path(
    old: str, new: str, path: str, hint: str
) -> None:
    """The problem names the path, what is allowed, and what would do where that is clear."""
    text = sample_text()
    assert old in text
    found = diagnose(text.replace(old, new, 1).encode(), source="p.yaml")
    assert [p.path for p in found.problems] == [path]
    assert found.problems[0].hint == hint
    assert found.problems[0].message.startswith("expected ")
    assert not found.problems[0].malformed


@pytest.mark.spec("POL-12")
def test_a_repeated_reference_value_is_refused() -> None:
    """A list of reference values has no value twice; a command may."""
    digest = '"sha256:' + "d4" * 32 + '"'
    text = sample_text().replace(f"[{digest}]", f"[{digest}, {digest}]", 1)
    (problem,) = diagnose(text.encode(), source="p.yaml").problems
    assert problem.path == "workloads.train.runtime[1]"
    text = sample_text().replace('"--epochs", "3"', '"-v", "-v"', 1)
    assert diagnose(text.encode(), source="p.yaml").policy is not None


@pytest.mark.spec("POL-10")
def test_no_key_has_a_default() -> None:
    """Taking away any required line makes the text invalid, never weaker."""
    lines = sample_text().splitlines(keepends=True)
    for index, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "location", "OMP_", "KERAS_", '"/')):
            continue
        text = "".join(lines[:index] + lines[index + 1 :])
        assert diagnose(text.encode(), source="p.yaml").policy is None, line


def test_the_table_has_the_fields_of_the_model() -> None:
    """The records that make a model class have, together, exactly its fields."""
    seen = set()
    found: dict[type, set[str]] = {}

    def visit(kind: object) -> None:
        if isinstance(kind, kinds.RecordKind):
            make = model.RootsOfTrust if kind.make is schema.roots_of_trust else kind.make
            assert isinstance(make, type)
            found.setdefault(make, set()).update(kind.fields)
            seen.add(make.__name__)
            for inner in kind.fields.values():
                visit(inner)
        if isinstance(kind, EvidenceRootKind):
            seen.add(model.EvidenceRoot.__name__)
        for name in ("item", "value", "kind", "marked", "plain"):
            if hasattr(kind, name):
                visit(getattr(kind, name))
        if isinstance(kind, kinds.ByKey):
            for record in kind.records.values():
                visit(record)

    visit(schema.POLICY)
    visit(schema.CHARTER)
    visit(kinds.UNCHECKED)
    types = set(secret_rules.__all__) - {"COMES_LATER", "FETCHED", "PARTS", "SecretForm"}
    types |= set(network_rules.__all__) - {"Framework", "Ports"}
    types |= {"BudgetRule"}
    assert seen == set(model.__all__) | types
    # Sections about genuine evidence are one field of the model, by the kind's name.
    assert found.pop(model.RootsOfTrust) == {"sim", *POLICY_KINDS}
    for make, names in found.items():
        assert names == {field.name for field in fields(make)}


def test_a_value_without_a_text_has_no_line() -> None:
    """Problems in canonical bytes name the path alone."""
    problems = Problems()
    assert schema.read_policy(node_from_value({"policy": 1, "x": None}), problems) is None
    assert {p.line for p in problems.found} == {0}
    assert str(problems.found[0]).startswith("x: unknown key")
