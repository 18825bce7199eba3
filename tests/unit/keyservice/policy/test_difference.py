"""What a policy changes, and which changes let more happen."""

from pathlib import Path

import pytest

from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.difference import compare
from cloister.testing.keyservice import ServiceBench, policy_text
from cloister.testing.networks import networked_policy
from cloister.testing.secrets import export_entry, secret_policy

KEY = "ed25519:" + "a1" * 32
OTHER = "ed25519:" + "b2" * 32
BOARD = f'approval: {{approvers: ["{KEY}"], threshold: 1, timeout: 60}}\n'
WIDER = f'approval: {{approvers: ["{KEY}", "{OTHER}"], threshold: 1, timeout: 60}}\n'
STRICTER = f'approval: {{approvers: ["{KEY}", "{OTHER}"], threshold: 2, timeout: 60}}\n'
SLOWER = f'approval: {{approvers: ["{KEY}"], threshold: 1, timeout: 61}}\n'
READER = f'access: {{readers: ["{OTHER}"]}}\n'


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> ServiceBench:
    """Whose platform the policies name."""
    folder: Path = tmp_path_factory.mktemp("difference")
    made = ServiceBench.create(folder)
    made.close()
    return made


@pytest.mark.parametrize(
    ("old", "new", "effects"),
    [
        ({}, {}, []),
        ({"svn": "2"}, {"svn": "1"}, ["weaker"]),
        ({"svn": "1"}, {"svn": "2"}, ["stricter"]),
        ({"debug": "accepted"}, {"debug": "refused"}, ["stricter"]),
        ({}, {"svn": "{unchecked: a reason that is long}"}, ["weaker", "weaker"]),
        ({"svn": "{unchecked: a reason that is long}"}, {}, ["stricter", "stricter"]),
        ({}, {"runtime": "{unchecked: a reason that is long}"}, ["weaker"] * 4),
        ({"runtime": "{unchecked: a reason that is long}"}, {}, ["stricter"] * 4),
        ({}, {"anchor": f'{KEY}", "{OTHER}'}, ["weaker", "weaker", "stricter"]),
        ({"more": BOARD}, {"more": WIDER}, ["weaker"]),
        ({"more": STRICTER}, {"more": WIDER}, ["weaker"]),
        ({"more": WIDER}, {"more": STRICTER}, ["stricter"]),
        ({"more": BOARD}, {"more": SLOWER}, ["weaker"]),
        ({"more": BOARD}, {}, ["weaker"] * 3),
        ({}, {"more": BOARD}, ["weaker"] * 3),
        ({}, {"more": READER}, ["weaker"]),
        ({"more": READER}, {}, ["stricter"]),
        ({}, {"name": "letters"}, ["other"]),
    ],
)
def test_each_change_has_its_effect(
    bench: ServiceBench, old: dict[str, str], new: dict[str, str], effects: list[str]
) -> None:
    """What is not known to be stricter or neutral is weaker."""
    before, after = (
        parse_policy(policy_text(bench, **facts).encode(), source="p") for facts in (old, new)
    )
    assert sorted(change.effect for change in compare(before, after)) == sorted(effects)


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ("access: read}", "access: write}", "weaker"),
        ("logs: drop", "logs: pass", "weaker"),
        ("logs: pass", "logs: drop", "stricter"),
        ("--epochs", "--rounds", "other"),
        ('SEED: "7"', 'SEED: "8"', "other"),
        ("/ann/*", "/*/*", None),
        ("port: 0", "port: 8443", "other"),
        ("/data: {volume: data, access: read}", "/in: {volume: data, access: read}", None),
    ],
)
def test_words_of_a_workload(bench: ServiceBench, old: str, new: str, effect: str | None) -> None:
    """Access and logs say which way; what runs is shown and not judged."""
    text = policy_text(bench)
    assert old in text
    changed = text.replace(old, new)
    if effect is None:
        changed = text.replace(
            "/data: {volume: data, access: read}", "/in: {volume: data, access: read}"
        )
    found = compare(
        parse_policy(text.encode(), source="p"), parse_policy(changed.encode(), source="p")
    )
    effects = {change.effect for change in found}
    assert effects == ({effect} if effect else {"weaker", "stricter"})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "/a: plain", {"/a": "weaker"}),
        ("", "/a: authenticated", {"/a": "weaker"}),
        ("", "/a: ephemeral", {"/a": "other"}),
        ("", "/a: encrypted", {"/a": "other"}),
        ("/a: plain", "", {"/a": "stricter"}),
        ("/a: plain", "/a: authenticated", {"/a": "stricter"}),
        ("/a: authenticated", "/a: plain", {"/a": "weaker"}),
        ("/a: ephemeral", "/a: authenticated", {"/a": "weaker"}),
        ("/a: plain", "/a: ephemeral", {"/a": "stricter"}),
        ("/a: authenticated, /a/b: encrypted", "/a: authenticated", {"/a/b": "weaker"}),
        ("/a: authenticated", "/a: authenticated, /a/b: encrypted", {"/a/b": "stricter"}),
        ("/: authenticated, /a/b: encrypted", "/: authenticated", {"/a/b": "weaker"}),
        ("/a: authenticated, /ab: encrypted", "/a: authenticated", {"/ab": "other"}),
        ("", "/: authenticated", {"/": "weaker"}),
    ],
)
def test_regions_by_what_the_operator_gets(
    bench: ServiceBench, old: str, new: str, expected: dict[str, str]
) -> None:
    """A region counts as what it changes: against the region around it, or against encrypted."""
    before, after = (
        parse_policy(
            policy_text(bench)
            .replace("root: latest", "root: latest" + (f", regions: {{{regions}}}" * bool(regions)))
            .encode(),
            source="p",
        )
        for regions in (old, new)
    )
    found = compare(before, after)
    assert {change.path: change.effect for change in found} == {
        f"volumes.data.regions[{path}]": effect for path, effect in expected.items()
    }


def test_volumes_by_state_and_identity(bench: ServiceBench) -> None:
    """Another volume is weaker; a pinned state is stricter than the latest."""
    text = policy_text(bench)
    pinned = text.replace("root: latest", 'root: "sha256:' + "c3" * 32 + '"')
    moved = pinned.replace("c3" * 32, "d4" * 32)
    other = text.replace(b"d".hex() * 16, "00" * 16)
    policies = [parse_policy(t.encode(), source="p") for t in (text, pinned, moved, other)]
    assert [c.effect for c in compare(policies[0], policies[1])] == ["stricter"]
    assert [c.effect for c in compare(policies[1], policies[0])] == ["weaker"]
    assert [c.effect for c in compare(policies[1], policies[2])] == ["other"]
    assert [(c.path, c.effect) for c in compare(policies[0], policies[3])] == [
        ("volumes.data.id", "weaker")
    ]


@pytest.mark.parametrize(
    ("old", "new", "path", "effect"),
    [
        ({"minimum_svn": "2"}, {}, "minimum_svn", "weaker"),
        ({}, {"minimum_svn": "2"}, "minimum_svn", "stricter"),
        ({}, {"debug": "accepted"}, "debug", "weaker"),
        ({}, {"lifetime": "3601"}, "lifetime", "weaker"),
        ({"lifetime": "3601"}, {}, "lifetime", "stricter"),
        ({}, {"anchors": f"[{KEY!r}, {OTHER!r}]"}, f"anchors[{OTHER}]", "weaker"),
        ({"anchors": f"[{KEY!r}, {OTHER!r}]"}, {}, f"anchors[{OTHER}]", "stricter"),
    ],
)
def test_a_rule_for_another_service_is_compared_part_by_part(
    bench: ServiceBench, old: dict[str, str], new: dict[str, str], path: str, effect: str
) -> None:
    """Each under the policy and the service that it is for."""
    one, two = (
        parse_policy(
            secret_policy(
                bench,
                secrets="\n  key: {opaque: {max_bytes: 9}, export: ["
                + export_entry(bench, **({"anchors": f"[{KEY!r}]"} | changes))
                + "]}\n",
            ).encode(),
            source="p",
        )
        for changes in (old, new)
    )
    (found,) = compare(one, two)
    place = f"lab/keeper of example.test, {bench.domain.identity.text}"
    assert found.path == f"secrets.key.export[{place}].{path}"
    assert found.effect == effect


def test_an_export_to_another_service_is_weaker_and_its_end_stricter(bench: ServiceBench) -> None:
    """Every fact of it."""
    entry = ", export: [" + export_entry(bench) + "]"
    texts = (
        secret_policy(bench, secrets=f"\n  key: {{opaque: {{max_bytes: 9}}{each}}}\n")
        for each in ("", entry)
    )
    one, two = (parse_policy(text.encode(), source="p") for text in texts)
    assert {each.effect for each in compare(one, two)} == {"weaker"}
    assert {each.effect for each in compare(two, one)} == {"stricter"}
    assert len(compare(one, two)) == 10


@pytest.mark.parametrize(
    ("change", "effects"),
    [
        (("ps: [2225]", "ps: [2225, 2226]"), {"workloads.worker.connections.ps[2226]": "weaker"}),
        (("ps: [2225]", "ps: [80]"), {"workloads.worker.connections.ps[2225]": "stricter",
                                     "workloads.worker.connections.ps[80]": "weaker"}),
        (("ps: [2225]", "ps: any"), {"workloads.worker.connections.ps[2225]": "weaker",
                                    "workloads.worker.connections.ps": "weaker"}),
        (("worker: any, ps: any", "worker: any, ps: [80]"),
         {"workloads.chief.connections.ps": "stricter",
          "workloads.chief.connections.ps[80]": "stricter"}),
        (("chief: any, worker: any, ps: any", "worker: any, ps: any"),
         {"workloads.chief.connections.chief": "stricter"}),
        (("bytes: 10000000", "bytes: 10000001"),
         {"workloads.chief.egress[mlflow.example.org].bytes": "weaker"}),
        (("rate: 1000000", "rate: 9"),
         {"workloads.chief.egress[mlflow.example.org].rate": "stricter"}),
        (("ports: [443]", "ports: [443, 80]"),
         {"workloads.chief.egress[mlflow.example.org].ports[80]": "weaker"}),
        (("restarts: 3", "restarts: 4"), {"workloads.worker.instances.restarts": "weaker"}),
        ((", restarts: 3", ""), {"workloads.worker.instances.restarts": "weaker"}),
        (("[train-0, train-1]", "[train-1, train-0]"),
         {"workloads.worker.volumes[/data].shards": "weaker"}),
        (("[chief, worker, ps]", "[worker, chief, ps]"), {"cluster.roles": "other"}),
        (("port: 2222", "port: 2221"), {"cluster.port": "other"}),
    ],
)  # fmt: skip
def test_changes_of_networks_have_their_effects(
    change: tuple[str, str], effects: dict[str, str]
) -> None:
    """More places, ports or bytes is weaker; the order of shards and ranks shows."""
    changes = compare(networked_policy(), networked_policy(change))
    assert {each.path: each.effect for each in changes} == effects


def test_a_new_place_outside_is_weaker_in_every_line() -> None:
    """With its bound, which bounds nothing that was there before."""
    egress = "    egress: {mlflow.example.org: {ports: [443], bytes: 10000000, rate: 1000000}}\n"
    without = networked_policy((egress, ""))
    assert {each.effect for each in compare(without, networked_policy())} == {"weaker"}
    assert {each.effect for each in compare(networked_policy(), without)} == {"stricter"}


def test_a_first_bound_of_instances_is_stricter(bench: ServiceBench) -> None:
    """Without one there may be as many as a job can hold."""
    before, after = (
        parse_policy(policy_text(bench, instances=line).encode(), source="p")
        for line in ("", "instances: {maximum: 2}")
    )
    assert {each.effect for each in compare(before, after)} == {"stricter"}
    assert {each.effect for each in compare(after, before)} == {"weaker"}
