"""One trust domain with sealed volumes and a policy, made through the command line, for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from integration.cli.desk import Desk

SCRIPTS: Final = {
    "copy.sh": """
        read secret < /data/secret.txt
        echo "$secret, changed" > /out/copy.txt
        echo to the operator
        echo and this beside >&2
        exit ${1:-0}
    """,
    "wait.sh": """
        echo started > /out/wait.txt
        trap 'echo stopped > /out/wait.txt; exit 9' TERM INT
        echo ready
        while :; do sleep 0.05; done
    """,
    "steps.sh": """
        for step in 1 2 3 4 5 6; do
            echo $step > /out/step.txt; sync /out/step.txt; echo step $step; sleep 0.5
        done
    """,
    "fill.sh": """
        rm -f /out/big; echo kept > /out/kept.txt; sync /out/kept.txt
        dd if=/dev/zero of=/out/big bs=1M count=${1:-64} conv=fsync || exit 28
    """,
}
ROLES: Final = {
    "copy": ["/bin/sh", "/code/copy.sh"],
    "seven": ["/bin/sh", "/code/copy.sh", "7"],
    "wait": ["/bin/sh", "/code/wait.sh"],
    "steps": ["/bin/sh", "/code/steps.sh"],
    "fill": ["/bin/sh", "/code/fill.sh"],
    "small": ["/bin/sh", "/code/fill.sh", "1"],
}
SECRET: Final = "a secret of the data set"


def furnish(desk: Desk, *, policy: str = "work") -> Desk:
    """Type what an owner types once: init, seal, create, draft, apply."""
    for name, text in SCRIPTS.items():
        path = desk.folder / "plain" / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    data = desk.folder / "plain" / "data"
    data.mkdir()
    (data / "secret.txt").write_text(SECRET + "\n")
    (data / "array.bin").write_bytes(bytes(range(256)) * 2048)
    desk.run("init").good()
    desk.run("volume", "seal", "plain/data", "sealed/data").good()
    desk.run("volume", "seal", "plain/code", "sealed/code", "--kind", "code").good()
    desk.run("volume", "create", "sealed/out").good()
    words = ("--name", policy, "--workload", "copy", "--code", "sealed/code")
    volumes = ("--volume", "/data=sealed/data:read", "--volume", "/out=sealed/out:write")
    command = ("--command", "/bin/sh /code/copy.sh")
    desk.run("policy", "draft", *words, *volumes, *command).good()
    desk.add_roles(desk.folder / "policy.yaml", ROLES)
    desk.run("policy", "apply", "policy.yaml").good()
    return desk


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A furnished desk; tests leave its volumes usable and its policy in force."""
    desk = furnish(Desk(tmp_path_factory.mktemp("desk")))
    yield desk
    desk.stop_service()
