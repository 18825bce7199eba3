"""The part of lint that looks at one workload: its mounts, its command, its environment.

Each function yields (severity, code, path, message); `lint` adds places and hints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from cloister.keyservice.policy.model import CodeVolume, Mount, Policy, Unchecked, Workload
from cloister.keyservice.policy.node import join, quote

__all__ = ["CODE_MOUNT", "SYSTEM_PATHS", "findings_of_workload"]

_Found = tuple[Literal["error", "warning", "note"], str, str, str]

CODE_MOUNT: Final = "/code"
SYSTEM_PATHS: Final = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/tmp", "/usr", "/var",  # noqa: S108  # paths to refuse, none to use
)  # fmt: skip
_INSTALLATION_PATHS: Final = ("/home", "/opt", "/root")  # where interpreters may be installed

_LOADER: Final = re.compile(
    r"LD_(PRELOAD|AUDIT|LIBRARY_PATH|PROFILE.*|DEBUG.*)|PYTHONHOME|GCONV_PATH"
)
_SEARCH_PATHS: Final = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX")
_LAUNCHER_OWN: Final = re.compile(r"LISTEN_(FDS|PID|FDNAMES)|CLOISTER_.*")
_SECRET: Final = re.compile(
    r".*(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL).*", re.IGNORECASE
)
_OPTIONS_WITH_VALUE: Final = frozenset({"-W", "-X", "--check-hash-based-pycs"})


def findings_of_workload(policy: Policy, workload: Workload, path: str) -> Iterator[_Found]:
    """Yield what is wrong or left open in one workload."""
    yield from _code(policy, workload, path)
    yield from _mounts(policy, workload, path)
    yield from _repeated(workload, path)
    yield from _command(workload, path)
    for name, value in workload.environment.items():
        place = join(f"{path}.environment", name)
        plain = not (policy.has_templates and "${secret:" in value)
        yield from _variable(workload, place, name, value=value, plain=plain)
    yield from _instances(workload, path)
    if workload.cells is not None:
        message = "it may make namespaces: more of the kernel's code can be reached from it"
        yield "note", "lint.cells", f"{path}.cells", message
    yield from _open_ends(workload, path)


def _code(policy: Policy, workload: Workload, path: str) -> Iterator[_Found]:
    if isinstance(workload.runtime, Unchecked):
        message = f"not checked: {workload.runtime.unchecked}"
        yield "note", "lint.unchecked", f"{path}.runtime", message
        message = "whoever installs the interpreter and its packages decides what runs"
        yield "warning", "lint.runtime-unchecked", f"{path}.runtime", message
    if not isinstance(workload.code, CodeVolume):
        return
    name = workload.code.volume
    rule = policy.volumes.get(name)
    if rule is None:
        message = f"the code's volume {quote(name)} is not declared"
        yield "error", "lint.volume-undeclared", f"{path}.code.volume", message
        return
    if rule.root == "latest":
        message = (
            f"{path} runs code from this volume, whose root is 'latest': whoever can write to it "
            "would choose the code; a code volume needs an exact root"
        )
        yield "error", "lint.code-root", join("volumes", name) + ".root", message
    for point, mount in workload.volumes.items():
        if name in mount.names and mount.access == "write":
            message = "the workload may write to its own code, whose state the policy fixes"
            yield "error", "lint.code-writable", join(f"{path}.volumes", point), message


def _mounts(policy: Policy, workload: Workload, path: str) -> Iterator[_Found]:
    for point, mount in workload.volumes.items():
        at = join(f"{path}.volumes", point)
        for name, place in mount.places(at).items():
            rule = policy.volumes.get(name)
            if rule is None:
                message = f"volume {quote(name)} is not declared"
                yield "error", "lint.volume-undeclared", place, message
            elif rule.root != "latest" and mount.access == "write" and not _is_code(workload, name):
                message = (
                    "writable, yet its root is exact: after the first change no run is admitted"
                )
                yield "warning", "lint.exact-root-writable", place, message
        yield from _mount_point(workload, point, at)


def _mount_point(workload: Workload, point: str, place: str) -> Iterator[_Found]:
    for system in SYSTEM_PATHS:
        if _within(point, system):
            message = f"a volume here would lie over the system's {system}"
            yield "error", "lint.mount-system", place, message
    for folder in _INSTALLATION_PATHS:
        if _within(point, folder):
            message = f"an interpreter under {folder} would be hidden by a volume here"
            yield "warning", "lint.mount-installation", place, message
    for other in sorted({*workload.volumes, CODE_MOUNT} - {point}):
        if _within(point, other):
            message = f"lies within {other}, where something else is mounted"
            yield "error", "lint.mount-overlap", place, message
    if point == CODE_MOUNT and not all(
        _is_code(workload, name) for name in workload.volumes[point].names
    ):
        message = f"{CODE_MOUNT} is where the measured code lies"
        yield "error", "lint.mount-overlap", place, message


def _repeated(workload: Workload, path: str) -> Iterator[_Found]:
    first: dict[str, str] = {}
    if isinstance(workload.code, CodeVolume):
        first[workload.code.volume] = CODE_MOUNT
    for point, mount in workload.volumes.items():
        for name, place in mount.places(join(f"{path}.volumes", point)).items():
            if first.get(name, point) != point:
                other = first[name]
                before = workload.volumes.get(other)
                writes = "write" in {mount.access, before.access if before is not None else ""}
                message = f"volume {quote(name)} is mounted at {other} already"
                severity: Literal["error", "warning"] = "error" if writes else "warning"
                yield severity, "lint.volume-mounted-twice", place, message
            first.setdefault(name, point)


def _command(workload: Workload, path: str) -> Iterator[_Found]:
    program = workload.command[0]
    place = f"{path}.command[0]"
    if program != "python" and not program.startswith("/"):
        message = f"{quote(program)} is neither 'python' nor an absolute path"
        yield "error", "lint.command-program", place, message
        return
    if program != "python":
        if _volume_at(workload, program) is None:
            message = f"{quote(program)} lies on no volume; only the runtime's digest can cover it"
            yield "note", "lint.program-outside", place, message
        return
    index = _script_index(workload.command)
    if index is not None:
        yield from _script(workload, f"{path}.command[{index}]", workload.command[index])


def _script(workload: Workload, place: str, script: str) -> Iterator[_Found]:
    volume = _volume_at(workload, script)
    if not script.startswith("/") or volume is None:
        message = f"the script {quote(script)} lies under no mount point"
        yield "error", "lint.script-nowhere", place, message
    elif volume and not _is_code(workload, volume):
        message = (
            f"the script {quote(script)} lies on volume {quote(volume)}, which is not what is "
            "measured as the code"
        )
        yield "warning", "lint.script-not-code", place, message


def _script_index(command: tuple[str, ...]) -> int | None:
    """Return the place of the script in `python …`, or None for -c, -m, standard input."""
    index = 1
    while index < len(command):
        argument = command[index]
        if argument in _OPTIONS_WITH_VALUE:
            index += 2
        elif argument == "-" or argument.startswith(("-c", "-m")):
            return None
        elif argument.startswith("-"):
            index += 1
        else:
            return index
    return None


def _variable(
    workload: Workload, place: str, name: str, *, value: str, plain: bool
) -> Iterator[_Found]:
    if _LAUNCHER_OWN.fullmatch(name):
        message = f"{name} is the launcher's to set"
        yield "error", "lint.environment-launcher", place, message
    elif _LOADER.fullmatch(name):
        message = f"{name} makes the loader run code beside, or in place of, what was measured"
        yield "error", "lint.environment-loader", place, message
    elif name in _SEARCH_PATHS:
        outside = [p for p in value.split(":") if not _is_measured(workload, p)]
        if outside:
            message = f"{name} names {quote(outside[0])}, which is not measured code"
            yield "warning", "lint.environment-search-path", place, message
    elif plain and _SECRET.fullmatch(name):
        message = f"{name} looks like a secret; operators can read every policy"
        yield "warning", "lint.environment-secret", place, message


def _instances(workload: Workload, path: str) -> Iterator[_Found]:
    writes = any(
        isinstance(mount, Mount) and mount.access == "write" for mount in workload.volumes.values()
    )
    if workload.instances is not None and workload.instances.maximum > 1 and writes:
        message = "each instance writes the same volume, and a volume has one writer at a time"
        yield "warning", "lint.instances-write", f"{path}.instances.maximum", message


def _open_ends(workload: Workload, path: str) -> Iterator[_Found]:
    for name, listener in workload.listen.items():
        if isinstance(listener.clients, Unchecked):
            message = f"anybody who reaches the port may ask: {listener.clients.unchecked}"
            place = join(f"{path}.listen", name) + ".clients"
            yield "note", "lint.clients-unchecked", place, message
    if workload.output.logs == "pass":
        message = "the operator sees standard output and error in plain"
        yield "note", "lint.logs", f"{path}.output.logs", message


def _volume_at(workload: Workload, path: str) -> str | None:
    """Return the volume that holds a path, "" for the place of the code, None for neither."""
    if _within(path, CODE_MOUNT):
        return ""
    points: Mapping[str, str] = {p: m.names[0] for p, m in workload.volumes.items()}
    inner = [point for point in points if _within(path, point)]
    return points[max(inner, key=len)] if inner else None


def _is_measured(workload: Workload, path: str) -> bool:
    volume = _volume_at(workload, path)
    return volume == "" or (volume is not None and _is_code(workload, volume))


def _is_code(workload: Workload, volume: str) -> bool:
    return isinstance(workload.code, CodeVolume) and workload.code.volume == volume


def _within(path: str, folder: str) -> bool:
    if ".." in path.split("/"):
        return False
    return path == folder or path.startswith(folder + "/")
