"""What a run will do, decided from the policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloister.errors import CloisterError, ConfigError, ReleaseDeniedError, RemoteProtocolError
from cloister.keyservice.policy.model import CodeDigests, Policy
from cloister.keyservice.policy.secret_rules import FileRule, OpaqueForm, SecretRule
from cloister.launcher.plan import (
    RunPlan,
    environment_of,
    is_inside_volume,
    plan_run,
    refuse_arguments,
    require_same,
)
from cloister.testing.networks import networked_policy
from cloister.testing.policies import sample_policy
from cloister.volume.regions import ENCRYPTED_ONLY, RegionClass, Regions

_STORES = {"data": Path("/stores/data"), "model": Path("/stores/model")}


def _plan(policy: Policy | None = None, **changes: object) -> RunPlan:
    options: dict[str, object] = {"base": Path("/p"), "code_folder": None, "stores": _STORES}
    return plan_run(policy or sample_policy(), "train", **(options | changes))


def _with_plain_code() -> Policy:
    policy = sample_policy()
    train = policy.workloads["train"]
    volumes = {path: mount for path, mount in train.volumes.items() if path != "/code"}
    code = CodeDigests(digests=("sha256:" + "0" * 64,))
    plain = replace(train, code=code, volumes=volumes)
    return replace(policy, workloads={"train": plain})


def test_volumes_come_from_the_policy_and_stores_from_the_machine() -> None:
    """A named store wins over the policy's hint, which is relative to the policy's folder."""
    plan = _plan()
    assert [(v.target, v.name, v.access, str(v.store)) for v in plan.volumes] == [
        ("/code", "code", "read", "/p/code"),
        ("/data", "data", "read", "/stores/data"),
        ("/model", "model", "write", "/stores/model"),
    ]
    assert plan.code == plan.volumes[0]
    assert plan.command[0] == "python"


@pytest.mark.spec("POL-19")
def test_regions_come_from_the_policy() -> None:
    """A volume without any is encrypted as a whole, and that is what its server is told."""
    policy = sample_policy()
    rule = replace(policy.volumes["data"], regions={"/a": "plain", "/b": "authenticated"})
    policy = replace(policy, volumes={**policy.volumes, "data": rule})
    code, data, model = _plan(policy).volumes
    assert (code.regions, model.regions) == (ENCRYPTED_ONLY, ENCRYPTED_ONLY)
    assert data.regions == Regions({"/a": RegionClass.PLAIN, "/b": RegionClass.AUTHENTICATED})
    assert data.regions.enforced


@pytest.mark.spec("POL-86")
def test_an_instance_plans_its_own_shard() -> None:
    """No store of another's is asked for; a run without an index has no plan."""
    store = Path("/stores/train-1")

    def plan(instance: str) -> RunPlan:
        return plan_run(
            networked_policy(),
            "worker",
            base=Path("/p"),
            code_folder=None,
            stores={"code": Path("/stores/code"), "train-1": store},
            instance=instance,
        )

    (data,) = (v for v in plan(f"1.{'a' * 16}").volumes if v.target == "/data")
    assert (data.name, data.store, data.access) == ("train-1", store, "read")
    for name in ("", "worker-1", f"2.{'a' * 16}"):
        with pytest.raises(ReleaseDeniedError) as e:
            plan(name)
        assert e.value.code == "release.instance-index"


def test_a_code_volume_is_mounted_at_code_in_any_case() -> None:
    """The key service grants it there, whether or not the policy mounts it."""
    policy = sample_policy()
    train = policy.workloads["train"]
    volumes = {path: mount for path, mount in train.volumes.items() if path != "/code"}
    policy = replace(policy, workloads={"train": replace(train, volumes=volumes)})
    assert _plan(policy).volumes[0].target == "/code"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"stores": {}}, "config.missing"),
        ({"stores": _STORES | {"typo": Path("/x")}}, "config.value"),
        ({"code_folder": Path("/x")}, "config.value"),
    ],
)
def test_places_that_do_not_fit_the_policy_are_refused(
    changes: dict[str, object], code: str
) -> None:
    """A store that is missing or unknown, or plain code beside a code volume."""
    with pytest.raises(ConfigError) as caught:
        _plan(**changes)
    assert caught.value.code == code


def test_plain_code_must_be_named() -> None:
    """`config.missing` until the folder is named; then it is the code."""
    with pytest.raises(ConfigError) as caught:
        _plan(_with_plain_code())
    assert caught.value.code == "config.missing"
    plan = _plan(_with_plain_code(), code_folder=Path("/c"))
    assert (plan.code, plan.code_folder) == (None, Path("/c"))


def test_an_unknown_workload_is_refused_by_name() -> None:
    """`release.workload-unknown`, with those that there are."""
    with pytest.raises(ReleaseDeniedError) as caught:
        plan_run(sample_policy(), "other", base=Path(), code_folder=None, stores={})
    assert caught.value.code == "release.workload-unknown"
    assert caught.value.hint == "it has serve, train"


def test_the_operator_adds_no_arguments() -> None:
    """`launch.argv`."""
    refuse_arguments(())
    with pytest.raises(ReleaseDeniedError) as caught:
        refuse_arguments(("--steal",))
    assert caught.value.code == "launch.argv"


def _bundle(plan: RunPlan, **changes: object) -> SimpleNamespace:
    volumes = {v.target: SimpleNamespace(id=v.id, access=v.access) for v in plan.volumes}
    files = {path: SimpleNamespace(mode=mode) for path, mode in plan.files.items()}
    facts = {"command": plan.command, "volumes": volumes, "files": files}
    return SimpleNamespace(**(facts | changes))


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"command": ("python", "/code/other.py")}, ReleaseDeniedError, "launch.argv"),
        ({"volumes": {}}, RemoteProtocolError, "protocol.remote"),
    ],
)
def test_what_is_released_must_be_what_was_planned(
    changes: dict[str, object], kind: type[CloisterError], code: str
) -> None:
    """Another command or other volumes than those measured are refused."""
    plan = _plan()
    require_same(plan, _bundle(plan))
    with pytest.raises(kind) as caught:
        require_same(plan, _bundle(plan, **changes))
    assert caught.value.code == code


@pytest.mark.spec("SEC-61")
def test_secrets_stand_only_where_the_plan_has_them() -> None:
    """A released command may differ where a secret is named; files have planned paths and modes."""
    policy = sample_policy()
    train = replace(
        policy.workloads["train"],
        command=("python", "/code/train.py", "--key=${secret:k}"),
        files={"/run/k": FileRule(content="${secret:k}")},
    )
    secrets = {"k": SecretRule(opaque=OpaqueForm(max_bytes=9))}
    policy = replace(policy, secrets=secrets, workloads={"train": train})
    plan = _plan(policy)
    good = ("python", "/code/train.py", "--key=anything")
    require_same(plan, _bundle(plan, command=good))
    for command in (
        ("python", "/code/other.py", "--key=anything"),
        ("python", "/code/train.py", "--other=anything"),
        ("python", "/code/train.py"),
        (*good, "more"),
    ):
        with pytest.raises(ReleaseDeniedError) as caught:
            require_same(plan, _bundle(plan, command=command))
        assert caught.value.code == "launch.argv"
    for files in ({}, {"/run/k": SimpleNamespace(mode=0o444)}, {"/x": SimpleNamespace(mode=0o400)}):
        with pytest.raises(RemoteProtocolError) as other:
            require_same(plan, _bundle(plan, command=good, files=files))
        assert other.value.code == "protocol.remote"


@pytest.mark.spec("LM-13")
@pytest.mark.parametrize(
    ("program", "inside"),
    [
        ("/code/bin/x", True),
        ("/data/x", True),
        ("/usr/bin/x", False),
        ("/code/../usr/bin/x", False),
    ],
)
def test_programs_in_volumes_are_known(program: str, *, inside: bool) -> None:
    """Such a program is measured with its volume."""
    assert is_inside_volume(program, _plan()) is inside


def test_the_environment_is_the_policys_on_top_of_ours() -> None:
    """Defaults can be overridden; what keeps the measurement true cannot."""
    given = {"HOME": "/x", "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": "/code/lib"}
    found = environment_of(given, [Path("/src")])
    assert found["HOME"] == "/x"
    assert found["PYTHONDONTWRITEBYTECODE"] == "1"
    assert found["PYTHONPATH"] == "/code/lib:/src"
    assert found["TMPDIR"] == "/tmp"  # noqa: S108  # inside the sandbox
    assert "PYTHONPATH" not in environment_of({}, [])
