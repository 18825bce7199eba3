"""Options of `cloister policy draft` for several workloads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloister.cli.draft import DraftWords, draft_from_words
from cloister.cli.draft_roles import RoleOptions, share_out
from cloister.errors import ConfigError
from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.lint import lint_text
from cloister.keyservice.policy.model import ShardMount
from cloister.keyservice.policy.networks import cluster_ports
from cloister.launcher.local import LocalFacts
from cloister.volume.opening import create_volume

_FACTS = LocalFacts("ed25519:" + "ab" * 32, b"l" * 32, b"r" * 32, 1)
_OPTIONS = RoleOptions(roles=("chief", "worker", "ps"), command=("python /code/train.py",))


def test_an_option_is_for_all_or_for_one() -> None:
    """What stands behind a workload's name and a colon is its own."""
    words = share_out(
        replace(
            _OPTIONS,
            command=("python /code/a.py", "ps:python /code/ps.py --port=:80"),
            env=("SEED=1:2", "worker:THREADS=2"),
            volume=("/data=a:read", "ps:/data2=b:read"),
            listen=("chief:api=8443",),
            client=("spiffe://a.example/n/p/r/*",),
            instances=("1", "worker:2"),
            restarts=("worker:3",),
            egress=("chief:t.example:443=1/1",),
        )
    )
    chief, worker, ps = (words[role] for role in ("chief", "worker", "ps"))
    assert (chief.command, ps.command) == (
        "python /code/a.py",
        "python /code/ps.py --port=:80",
    )
    assert worker.environment == ("SEED=1:2", "THREADS=2")
    assert (chief.volumes, ps.volumes) == (("/data=a:read",), ("/data=a:read", "/data2=b:read"))
    assert (chief.listen, worker.listen) == (("api=8443",), ())
    assert (chief.clients, worker.clients) == (("spiffe://a.example/n/p/r/*",), ())
    assert (chief.instances, worker.instances) == ("1", "2")
    assert (chief.restarts, worker.restarts) == ("", "3")
    assert (chief.egress, worker.egress) == (("t.example:443=1/1",), ())


def test_connections_are_between_workloads_of_the_draft() -> None:
    """One by one, or everybody to everybody."""
    words = share_out(replace(_OPTIONS, connect=("worker=ps:2225,2226", "worker=chief")))
    assert words["worker"].connections == ("ps:2225,2226", "chief")
    assert words["chief"].connections == ()
    words = share_out(replace(_OPTIONS, connect=("all",)))
    assert {role.connections for role in words.values()} == {("chief", "worker", "ps")}


@pytest.mark.parametrize(
    "options",
    [
        replace(_OPTIONS, roles=("a", "a")),
        replace(_OPTIONS, command=()),
        replace(_OPTIONS, command=("ps:python /code/ps.py",)),
        replace(_OPTIONS, command=("python /a", "python /b")),
        replace(_OPTIONS, instances=("worker:1", "worker:2")),
        replace(_OPTIONS, connect=("worker",)),
        replace(_OPTIONS, connect=("nobody=ps",)),
        replace(_OPTIONS, connect=("worker=",)),
    ],
)
def test_options_that_contradict_or_name_nobody_are_refused(options: RoleOptions) -> None:
    """Before anything is measured."""
    with pytest.raises(ConfigError) as e:
        share_out(options)
    assert e.value.code in {"config.value", "config.missing"}


def test_cells_are_for_roles_that_there_are() -> None:
    """A name that is none would silently allow nothing."""
    with pytest.raises(ConfigError):
        share_out(RoleOptions(roles=("a",), command=("/bin/true",), cells=("b",)))


@pytest.mark.spec("POL-74")
def test_a_cluster_needs_no_editing(tmp_path: Path, plain: Path) -> None:
    """Roles, connections, shards, egress and ports come out as a policy without lint errors."""
    for name in ("train-0", "train-1", "model"):
        create_volume(tmp_path / name, b"k" * 32)
    workloads = share_out(
        replace(
            _OPTIONS,
            command=("/bin/sh /code/train.sh",),
            volume=(f"chief:/model={tmp_path}/model:write",),
            shards=(f"worker:/data={tmp_path}/train-0,{tmp_path}/train-1:latest",),
            instances=("1", "worker:2"),
            restarts=("3",),
            connect=("all",),
            egress=("chief:tracker.example.org:443=10000000/1000000",),
            cells=("worker",),
        )
    )
    words = DraftWords(
        name="p",
        namespace="n",
        code=plain,
        workloads=workloads,
        logs="drop",
        predecessor="none",
        base=tmp_path,
        cluster="tensorflow:2300",
        lifetime=600,
    )
    text = draft_from_words(words, _FACTS)
    policy = parse_policy(text.encode(), source="draft")
    assert list(cluster_ports(policy).values()) == [2300, 2301, 2302, 2303]
    assert policy.certificate_lifetime == 600
    shards = ShardMount(shards=("train-0", "train-1"), access="read")
    assert policy.workloads["worker"].volumes["/data"] == shards
    assert policy.workloads["ps"].connections == {"chief": "any", "worker": "any", "ps": "any"}
    assert [name for name, role in policy.workloads.items() if role.cells] == ["worker"]
    warnings = {f.code for f in lint_text(text.encode(), source="draft") if f.severity != "note"}
    assert warnings == {"lint.egress"}
