"""What lint finds, each with its severity, code, path and line."""

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy.lint import lint, lint_text, require_sound
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.policies import sample_policy, sample_text

ROOTS = sample_text()[sample_text().index("roots_of_trust:") : sample_text().index("# Sealed")]
KEYS = '["ed25519:' + "a1" * 32 + '", "ed25519:' + "b2" * 32 + '"]'
BOARD = f"approval: {{approvers: {KEYS}, threshold: 1, timeout: 60}}\n"
READERS = f"access: {{readers: {KEYS}}}\n"

CODE = 'root: "sha256:' + "c3" * 32 + '"'
DATA, MODEL = (f'"{digit * 32}"\n    root: latest' for digit in "23")

CASES = [
    # old, new, severity, code, path
    (ROOTS, ROOTS + BOARD, "warning", "lint.one-approver", "approval.threshold"),
    (ROOTS, ROOTS + BOARD.replace("threshold: 1", "threshold: 2"), "note", "lint.own-board",
     "approval"),
    (ROOTS, ROOTS + READERS, "note", "lint.readers", "access.readers"),
    (ROOTS, "roots_of_trust: {}\n", "error", "lint.no-root-of-trust", "roots_of_trust"),
    (DATA, f"{DATA}\n    regions: {{/out: plain}}", "warning", "lint.region-plain",
     "volumes.data.regions[/out]"),
    (DATA, f"{DATA}\n    regions: {{/a: authenticated}}", "note", "lint.region-readable",
     "volumes.data.regions[/a]"),
    (MODEL, f"{MODEL}\n    regions: {{/a: authenticated}}", "warning", "lint.region-output",
     "volumes.model.regions[/a]"),
    (CODE, f"{CODE}\n    regions: {{/a: authenticated, /b: plain}}", "error", "lint.region-code",
     "volumes.code.regions[/b]"),
    ("debug: refused", "debug: accepted", "warning", "lint.debug", "roots_of_trust.sim.debug"),
    ("minimum_svn: 2", "minimum_svn: {unchecked: all are new}", "note", "lint.unchecked",
     "roots_of_trust.sim.minimum_svn"),
    ('measurement: ["sha256:' + "b2" * 32 + '"]', "measurement: {unchecked: not yet built}",
     "warning", "lint.launcher-unchecked", "roots_of_trust.sim.measurement"),
    ('runtime: ["sha256:' + "d4" * 32 + '"]', "runtime: {unchecked: changes daily}",
     "warning", "lint.runtime-unchecked", "workloads.train.runtime"),
    ('runtime: ["sha256:' + "d4" * 32 + '"]', "runtime: {unchecked: changes daily}",
     "note", "lint.unchecked", "workloads.train.runtime"),
    ('root: "sha256:' + "c3" * 32 + '"', "root: latest", "error", "lint.code-root",
     "volumes.code.root"),
    ("code: {volume: code}", "code: {volume: other}", "error", "lint.volume-undeclared",
     "workloads.train.code.volume"),
    ("{volume: data, access: read}", "{volume: dta, access: read}", "error",
     "lint.volume-undeclared", "workloads.train.volumes[/data]"),
    ("{volume: data, access: read}", "{volume: model, access: read}", "warning",
     "lint.volume-unused", "volumes.data"),
    ("predecessor: none", "predecessor: none\ncertificate_lifetime: 60", "warning",
     "lint.certificate-lifetime", "certificate_lifetime"),
    ("    code: {volume: code}", "    code: {volume: code}\n    instances: {maximum: 2}",
     "warning", "lint.instances-write", "workloads.train.instances.maximum"),
    ("{volume: data, access: read}", "{volume: model, access: read}", "error",
     "lint.volume-mounted-twice", "workloads.train.volumes[/model]"),
    ("{volume: data, access: read}", "{volume: code, access: read}", "warning",
     "lint.volume-mounted-twice", "workloads.train.volumes[/data]"),
    ("2" * 32, "1" * 32, "error", "lint.volume-twice", "volumes.data.id"),
    ("{volume: code, access: read}", "{volume: code, access: write}", "error",
     "lint.code-writable", "workloads.train.volumes[/code]"),
    ("{volume: code, access: read}", "{volume: data, access: read}", "error",
     "lint.mount-overlap", "workloads.train.volumes[/code]"),
    ('"/code": {volume: code', '"/elsewhere": {volume: code', "warning",
     "lint.volume-mounted-twice", "workloads.train.volumes[/elsewhere]"),
    ('"/data"', '"/usr/share/data"', "error", "lint.mount-system",
     "workloads.train.volumes[/usr/share/data]"),
    ('"/data"', '"/tmp"', "error", "lint.mount-system", "workloads.train.volumes[/tmp]"),
    ('"/data"', '"/run"', "error", "lint.mount-system", "workloads.train.volumes[/run]"),
    ('"/data"', '"/proc"', "error", "lint.mount-system", "workloads.train.volumes[/proc]"),
    ('"/data"', '"/home/data"', "warning", "lint.mount-installation",
     "workloads.train.volumes[/home/data]"),
    ('"/data"', '"/model/data"', "error", "lint.mount-overlap",
     "workloads.train.volumes[/model/data]"),
    ("code: {volume: code}", 'code: {digests: ["sha256:' + "c3" * 32 + '"]}', "error",
     "lint.mount-overlap", "workloads.train.volumes[/code]"),
    ('    id: "33333333333333333333333333333333"\n    root: latest',
     '    id: "33333333333333333333333333333333"\n    root: "sha256:' + "00" * 32 + '"',
     "warning", "lint.exact-root-writable", "workloads.train.volumes[/model]"),
    ("[python,", "[perl,", "error", "lint.command-program", "workloads.train.command[0]"),
    ("[python,", '["/usr/bin/perl",', "note", "lint.program-outside",
     "workloads.train.command[0]"),
    ("/code/train.py", "train.py", "error", "lint.script-nowhere", "workloads.train.command[2]"),
    ("/code/train.py", "/srv/train.py", "error", "lint.script-nowhere",
     "workloads.train.command[2]"),
    ("/code/train.py", "/code/../data/train.py", "error", "lint.script-nowhere",
     "workloads.train.command[2]"),
    ("/code/train.py", "/data/train.py", "warning", "lint.script-not-code",
     "workloads.train.command[2]"),
    ('"-u", "/code/train.py"', '"-W", "error", "/data/train.py"', "warning",
     "lint.script-not-code", "workloads.train.command[3]"),
    ("KERAS_BACKEND: tensorflow", "LD_PRELOAD: /data/x.so", "error", "lint.environment-loader",
     "workloads.train.environment.LD_PRELOAD"),
    ("KERAS_BACKEND: tensorflow", "PYTHONHOME: /data", "error", "lint.environment-loader",
     "workloads.train.environment.PYTHONHOME"),
    ("KERAS_BACKEND: tensorflow", 'PYTHONPATH: "/code/lib:/data"', "warning",
     "lint.environment-search-path", "workloads.train.environment.PYTHONPATH"),
    ("KERAS_BACKEND: tensorflow", 'LISTEN_FDS: "1"', "error", "lint.environment-launcher",
     "workloads.train.environment.LISTEN_FDS"),
    ("KERAS_BACKEND: tensorflow", "WANDB_API_KEY: abc", "warning", "lint.environment-secret",
     "workloads.train.environment.WANDB_API_KEY"),
    ("logs: drop", "logs: pass", "note", "lint.logs", "workloads.train.output.logs"),
]  # fmt: skip


@pytest.mark.spec("POL-70", "POL-71", "POL-72", "POL-73")
@pytest.mark.parametrize(("old", "new", "severity", "code", "path"), CASES)
def test_a_doubtful_policy_is_found_out(
    old: str, new: str, severity: str, code: str, path: str
) -> None:
    """Each doubt has its severity, code and path, and a line at which that path stands."""
    text = sample_text()
    assert old in text
    text = text.replace(old, new, 1)
    found = [f for f in lint_text(text.encode(), source="p.yaml") if f.code == code]
    assert (severity, path) in [(f.severity, f.path) for f in found], found
    finding = next(f for f in found if f.path == path)
    last = path.rpartition(".")[2]
    key = last.rpartition("[")[2].rstrip("]")
    line = text.splitlines()[finding.line - 1]
    assert key in line or last.partition("[")[0] in line, (line, finding)
    assert finding.as_record()["code"] == code
    policy = parse_policy(text.encode(), source="p.yaml")
    if severity == "error":
        with pytest.raises(MalformedError) as caught:
            require_sound(policy)
        assert caught.value.code == "policy.invalid"


@pytest.mark.spec("POL-73")
def test_the_sample_has_one_note() -> None:
    """A sound policy over simulation is told that no hardware vouches for it, and nothing else."""
    assert [f.code for f in lint(sample_policy(), positions={})] == ["lint.simulated"]
    require_sound(sample_policy())


@pytest.mark.spec("POL-73")
def test_open_listeners_are_noted() -> None:
    """Whoever approves the policy reads the reason."""
    found = lint_text(sample_text(open_clients=True).encode(), source="p.yaml")
    (note,) = [f for f in found if f.code == "lint.clients-unchecked"]
    assert "no clients with certificates" in note.message
    assert note.path == "workloads.serve.listen.rest.clients"


def test_a_text_that_is_no_policy_is_reported_by_lint_as_well() -> None:
    """Validity problems are findings of severity error."""
    (finding,) = lint_text(sample_text().replace("logs: drop", "logs: x", 1).encode(), source="p")
    assert (finding.severity, finding.code) == ("error", "policy.invalid")


@pytest.mark.spec("POL-16")
def test_the_code_need_not_be_mounted() -> None:
    """It lies at /code in any case."""
    text = sample_text().replace('      "/code": {volume: code, access: read}\n', "")
    assert [f.code for f in lint_text(text.encode(), source="p.yaml")] == ["lint.simulated"]


@pytest.mark.parametrize(
    "command",
    [
        '["python", "-m", "pkg.module", "nowhere.py"]',
        '["python", "-c", "print(\'x\')"]',
        '["python", "-"]',
        '["python"]',
        '["python", "-X", "dev", "-B", "/code/train.py", "other.py"]',
        '["/code/bin/tool", "x"]',
    ],
)
def test_commands_that_are_in_order_are_left_alone(command: str) -> None:
    """Modules, literal programs and scripts on the code volume need no finding."""
    text = sample_text()
    start = text.index("command: ") + len("command: ")
    text = text[:start] + command + text[text.index("\n", start) :]
    codes = [f.code for f in lint_text(text.encode(), source="p.yaml")]
    assert codes == ["lint.simulated"]


def test_findings_come_errors_first() -> None:
    """What must change stands above what deserves a look."""
    text = sample_text().replace("logs: drop", "logs: pass", 1).replace("/code/train.py", "x.py", 1)
    text = text.replace("debug: refused", "debug: accepted")
    severities = [f.severity for f in lint_text(text.encode(), source="p.yaml")]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert severities[0] == "error"
