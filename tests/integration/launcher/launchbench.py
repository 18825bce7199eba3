"""A trust domain with sealed code and data and a policy, ready to run; for tests in a child."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cloister.crypto.digest import digest_to_text
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.embedded import ensure_service
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import Policy, parse_policy
from cloister.keyservice.policy.draft import PolicyDraft, draft_policy
from cloister.keyservice.policy.model import (
    CodeDigests,
    CodeVolume,
    Listener,
    Mount,
    Output,
    SimRoot,
    Unchecked,
    VolumeRule,
    Workload,
)
from cloister.keyservice.policy.secret_rules import FileRule
from cloister.keyservice.transport import HTTPTransport
from cloister.launcher.code import read_code
from cloister.launcher.local import local_facts
from cloister.launcher.owner import Owner
from cloister.launcher.run import RunHooks, RunOutcome, RunRequest, run_workload
from cloister.volume.opening import observe
from cloister.volume.regions import RegionClass, Regions

__all__ = ["LaunchBench", "RegionWord"]

RegionWord = Literal["encrypted", "authenticated", "plain", "ephemeral"]


@dataclass
class LaunchBench:
    """Everything that a run needs, in one folder."""

    folder: Path
    domain: TrustDomain
    url: str
    owner: Owner
    text: str = ""
    output: dict[str, bytes] = field(default_factory=lambda: {"stdout": b"", "stderr": b""})
    stages: dict[str, float] = field(default_factory=dict)
    listening: Any = None
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, *, idle_exit_s: int = 60) -> LaunchBench:
        """Make a trust domain and start its key service."""
        folder.mkdir(parents=True, exist_ok=True)
        domain = TrustDomain.create(folder / "domain", "test.example", moment=read_clock())
        url = ensure_service(domain, deadline_s=20, idle_exit_s=idle_exit_s)
        owner = Owner(domain, HTTPTransport(url), clock=read_clock)
        return cls(folder, domain, url, owner)

    def seal(
        self, name: str, files: Mapping[str, bytes], *, regions: Mapping[str, str] | None = None
    ) -> Path:
        """Seal files into a new volume."""
        source = self.folder / "plain" / name
        for path, data in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
        store = self.folder / "sealed" / name
        classes = Regions({path: RegionClass(found) for path, found in (regions or {}).items()})
        self.owner.seal(source, store, kind="data", progress=lambda *_: None, regions=classes)
        return store

    def create_volume(self, name: str) -> Path:
        """Make an empty volume."""
        store = self.folder / "sealed" / name
        store.parent.mkdir(parents=True, exist_ok=True)
        self.owner.create(store, kind="result")
        return store

    def prepare(
        self,
        script: str,
        *,
        command: tuple[str, ...] = ("python", "/code/main.py"),
        environment: Mapping[str, str] | None = None,
        logs: str = "pass",
        listen: bool = False,
        plain_code: bool = False,
        runtime: bool = True,
        data: Mapping[str, bytes] | None = None,
        secrets: str = "",
        trust: str = "",
        files: Mapping[str, FileRule] | None = None,
        regions: Mapping[str, Mapping[str, RegionWord]] | None = None,
        sealed_regions: Mapping[str, str] | None = None,
        edit: Callable[[str], str] = str,
        cells: bool = False,
    ) -> LaunchBench:
        """Seal a script and data, make a volume for results, and apply a policy over them.

        `secrets` is what stands under that key of the policy, indented; `trust` what stands under
        `roots_of_trust` instead of this domain's platform; `regions` those of each volume, and
        `sealed_regions` those that the data is sealed with, where they are others. `edit` changes
        the policy's text before it is applied.
        """
        regions = regions or {}
        facts = local_facts(
            self.domain.platform(),
            program=command[0] if not command[0].startswith("/code") else "python",
            cache_directory=self.folder / "cache",
            at=read_clock().at,
            progress=lambda *_: None,
        )
        stores = {
            "data": self.seal(
                "data",
                data or {"x.txt": b"hello"},
                regions=regions.get("data") if sealed_regions is None else sealed_regions,
            )
        }
        stores["model"] = self.create_volume("model")
        if plain_code:
            plain = self.folder / "plain-code"
            plain.mkdir()
            (plain / "main.py").write_text(script)
            code: CodeVolume | CodeDigests = CodeDigests(
                digests=(digest_to_text(read_code(plain).digest()),)
            )
        else:
            stores["code"] = self.seal("code", {"main.py": script.encode()})
            code = CodeVolume(volume="code")
        pinned = {"code", "data"}
        rules = {
            name: VolumeRule(
                id=observe(store).volume_id.hex(),
                root=digest_to_text(observe(store).root) if name in pinned else "latest",
                location=str(store),
                regions=regions.get(name),
            )
            for name, store in stores.items()
        }
        mounts = {"/data": Mount(volume="data", access="read")}
        mounts["/model"] = Mount(volume="model", access="write")
        if not plain_code:
            mounts["/code"] = Mount(volume="code", access="read")
        anybody = Unchecked(unchecked="this is a test on one machine")
        role = Workload(
            code=code,
            runtime=(digest_to_text(facts.runtime),) if runtime else anybody,
            command=command,
            environment=dict(environment or {}),
            volumes=mounts,
            listen={"api": Listener(port=0, clients=anybody)} if listen else {},
            output=Output(logs="pass" if logs == "pass" else "drop"),
            cells="allowed" if cells else None,
        )
        self.text = draft_policy(
            PolicyDraft(
                name="job",
                namespace="lab",
                sim=SimRoot(
                    anchors=(facts.anchor,),
                    measurement=(digest_to_text(facts.launcher),),
                    minimum_svn=facts.svn,
                    debug="refused",
                ),
                volumes=rules,
                workloads={"main": role},
                predecessor="none",
            )
        )
        if trust:
            before, _, rest = self.text.partition("roots_of_trust:\n")
            self.text = f"{before}roots_of_trust:\n{trust}\n" + rest[rest.index("\n\n") :]
        if secrets:
            self.text += f"secrets:\n{secrets}"
        if files:
            lines = "".join(
                f"      {path}: {{content: {json.dumps(file.content)}, mode: '{file.bits:04o}'}}\n"
                for path, file in files.items()
            )
            self.text = self.text.replace("    output: {", f"    files:\n{lines}    output: {{", 1)
        self.text = edit(self.text)
        self.owner.apply(parse_policy(self.text.encode(), source="policy.yaml"))
        return self

    def policy(self) -> Policy:
        """Return the policy that was applied."""
        return parse_policy(self.text.encode(), source="policy.yaml")

    def request(self, **changes: Any) -> RunRequest:
        """Return the request for the prepared policy."""
        values: dict[str, Any] = {
            "policy": parse_policy(self.text.encode(), source="policy.yaml"),
            "workload": "main",
            "base": self.folder,
            "service": PinnedService(self.domain.identity, self.domain.origin),
            "url": self.url,
            "load_platform": self.domain.platform,
            "cache_directory": self.folder / "cache",
            "clock": read_clock,
            "receipt": self.folder / "receipt.json",
            "grace_s": 2.0,
        }
        plain = self.folder / "plain-code"
        if plain.exists():
            values["code_folder"] = plain
        return RunRequest(**(values | changes))

    def run(self, **changes: Any) -> RunOutcome:
        """Run it, keeping its output."""
        request = self.request(**changes)

        def log(stream: str, text: bytes) -> None:
            self.output[stream] += text

        hooks = RunHooks(
            log=log,
            stage=lambda name, seconds: self.stages.update({name: seconds}),
            measuring=lambda *_: None,
            listening=self._listens,
        )
        return run_workload(
            request,
            hooks,
            connect=lambda: ReleaseClient(
                HTTPTransport(request.url), request.service, clock=read_clock, deadline_s=3
            ),
        )

    def _listens(self, addresses: Any) -> None:
        if self.listening is not None:
            self.listening(addresses)

    def read_result(self, path: str) -> bytes:
        """Read a file of the result volume as its owner."""
        with self.owner.reading(self.folder / "sealed" / "model") as volume:
            attributes = volume.lookup(1, path.encode())
            out = bytearray(attributes.size)
            volume.read_into(attributes.ino, 0, memoryview(out))
            return bytes(out)
