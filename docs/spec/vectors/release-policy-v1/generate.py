"""Write the vectors of release-policy-v1 beside this file; a second run changes nothing.

Uses PyYAML and cbor2 alone, nothing of the package: canonical forms and hashes are made here from
the page, and so check the package independently.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import cbor2
import yaml

HERE = Path(__file__).parent
BOM = b"\xef\xbb\xbf"
LABEL = b"cloister/v1 release policy"

BASE = """\
policy: cloister/v1
name: digits
namespace: clinic
predecessor: none
roots_of_trust:
  sim:
    anchors: ["ed25519:{a}"]
    measurement: ["sha256:{b}"]
    minimum_svn: 2
    debug: refused
volumes:
  code: {{id: "{one}", root: "sha256:{c}", location: ./code}}
  data: {{id: "{two}", root: latest}}
workloads:
  train:
    code: {{volume: code}}
    runtime: ["sha256:{d}"]
    command: [python, /code/train.py]
    environment: {{SEED: "1"}}
    volumes:
      /code: {{volume: code, access: read}}
      /data: {{volume: data, access: read}}
    listen: {{}}
    output: {{logs: drop}}
""".format(a="a1" * 32, b="b2" * 32, c="c3" * 32, d="d4" * 32, one="1" * 32, two="2" * 32)

SECRETS = """\
secrets:
  a: {symmetric: {bytes: 32}, epoch: 3, readable: [1, 2]}
  b: {password: {length: 24, alphabet: "abcdefghij!~"}}
  c: {key_pair: {algorithm: x25519}, export: [{namespace: lab, policy: web}]}
  d: {authority: {common_name: A lab, lifetime_days: 3650}}
  e: {certificate: {authority: d, lifetime_days: 90, dns: ["*.example"], spiffe: "spiffe://a/b"}}
  f: {opaque: {max_bytes: 65536}}
imports:
  g: {namespace: partner, policy: feeds, secret: key}
"""
_PLACE = "source: vault, path: {}, field: {}, max_bytes: {}"
EXTERNAL = [
    # name, comment, form, expect
    ("ok-external", "a value of another store",
     _PLACE.format("secret/data/training/db", "pass.word-1", 256), "ok"),
    ("external-no-data", "a path that is no read of a KV version 2 store",
     _PLACE.format("database/creds/role", "a", 1), "policy.invalid"),
    ("external-no-mount", "a path without a mount", _PLACE.format("data/db", "a", 1),
     "policy.invalid"),
    ("external-no-path", "a path that names no secret", _PLACE.format("secret/data", "a", 1),
     "policy.invalid"),
    ("external-dots", "a path that goes up", _PLACE.format("secret/data/../sys", "a", 1),
     "policy.invalid"),
    ("external-query", "a path with a query", _PLACE.format('"secret/data/a?version=1"', "a", 1),
     "policy.invalid"),
    ("external-escape", "a path with an escape", _PLACE.format("secret/data/a%2fb", "a", 1),
     "policy.invalid"),
    ("external-slash", "a path that begins with a slash", _PLACE.format("/secret/data/a", "a", 1),
     "policy.invalid"),
    ("external-long", "a path that is too long",
     _PLACE.format("secret/data/" + "/".join(["a" * 100] * 5), "a", 1), "policy.invalid"),
    ("external-field", "a field with a space", _PLACE.format("secret/data/a", '"a b"', 1),
     "policy.invalid"),
    ("external-size", "a value that is too long", _PLACE.format("secret/data/a", "a", 65537),
     "policy.invalid"),
    ("external-open", "a form that does not say how long", "source: v, path: s/data/a, field: a",
     "policy.invalid"),
]  # fmt: skip
_REMOTE = "source: s, namespace: a/b, policy: p, secret: k, epoch: {}, max_bytes: {}"
REMOTE = [
    # name, comment, form, expect
    ("ok-remote", "a secret of another key service", _REMOTE.format(1, 64), "ok"),
    ("ok-remote-part", "a part of one", _REMOTE.format(2, 4096) + ", part: private", "ok"),
    ("remote-no-epoch", "without its epoch there", _REMOTE.format(0, 64), "policy.invalid"),
    ("remote-spelling", "a spelling for a part", _REMOTE.format(1, 64) + ", part: hex",
     "policy.invalid"),
    ("remote-open", "a form that does not say how long", "source: s, namespace: a, policy: p, "
     "secret: k, epoch: 1", "policy.invalid"),
    ("remote-path", "a form of a vault as well", _REMOTE.format(1, 64) + ", path: a/data/b",
     "policy.invalid"),
]  # fmt: skip
_SERVICE = {
    "service": '"ed25519:' + "e5" * 32 + '"',
    "trust_domain": "near.test",
    "namespace": "lab",
    "policy": "keeper",
    "root_of_trust": "sim",
    "anchors": '["ed25519:' + "e6" * 32 + '"]',
    "measurement": '["sha256:' + "d4" * 32 + '"]',
    "minimum_svn": "2",
    "debug": "refused",
    "lifetime": "600",
}
SERVICE = [
    # name, comment, changes, expect
    ("ok-service", "an export to another key service", {}, "ok"),
    ("ok-service-debug", "to one that can be inspected", {"debug": "accepted"}, "ok"),
    ("service-unchecked", "a check that is left out", {"measurement": "{unchecked: not needed}"},
     "policy.invalid"),
    ("service-nobody", "platforms of nobody", {"anchors": "[]"}, "policy.invalid"),
    ("service-hardware", "a root of trust that has no section", {"root_of_trust": "tdx"},
     "policy.invalid"),
    ("service-moment", "a lifetime that is too short", {"lifetime": "599"}, "policy.invalid"),
    ("service-for-ever", "one that is too long", {"lifetime": "31536001"}, "policy.invalid"),
    *(
        (f"service-no-{name.replace('_', '-')}", f"without {name}", {name: ""}, "policy.invalid")
        for name in _SERVICE
    ),
]  # fmt: skip


_BUDGET = "budgets: {{queries: {}}}\nvolumes:\n  code:"
_QUERIES = "{limit: 100, principals: [alice, bob], roles: [train]}"
_DESK = "    listen: {desk: {port: 0, clients: {unchecked: a reason that is long}}}"
BUDGETS = [
    # name, clause, comment, changes, expect
    ("ok-budget", "POL-87", "a budget of two principals",
     [("volumes:\n  code:", _BUDGET.format(_QUERIES))], "ok"),
    ("ok-budget-any", "POL-87", "a budget of any principal",
     [("volumes:\n  code:", _BUDGET.format(_QUERIES.replace("[alice, bob]", "any")))], "ok"),
    ("ok-budget-identities", "POL-87", "principals that are no plain names",
     [("volumes:\n  code:",
       _BUDGET.format(_QUERIES.replace("alice, bob", "'ed25519:00', 'a@b.example/c+d'")))], "ok"),
    ("budget-desk", "POL-88", "a listener that is called as the desk is",
     [("volumes:\n  code:", _BUDGET.format(_QUERIES)), ("    listen: {}", _DESK)],
     "policy.invalid"),
    *(
        (f"budget-{name}", "POL-87", comment,
         [("volumes:\n  code:", _BUDGET.format(_QUERIES.replace(old, new)))], "policy.invalid")
        for name, comment, old, new in (
            ("nothing", "a limit of nothing", "100", "0"),
            ("above", "a limit above all", "100", "1000000000000001"),
            ("unchecked", "a limit that is left out", "100", "{unchecked: a reason that is long}"),
            ("nobody", "no principals", "[alice, bob]", "[]"),
            ("twice", "one principal twice", "alice, bob", "bob, bob"),
            ("space", "a principal with a space", "alice", "'alice b'"),
            ("all", "another word for any", "[alice, bob]", "all"),
            ("no-role", "no workloads", "[train]", "[]"),
            ("other-role", "a workload that there is not", "[train]", "[test]"),
            ("no-limit", "without a limit", "limit: 100, ", ""),
            ("no-roles", "without workloads", ", roles: [train]", ""),
            ("more", "a key more", "roles:", "each: 1, roles:"),
        )
    ),
]  # fmt: skip

NET = "    listen: {}\n    instances: {maximum: 2}\n    connections: {train: any}"
CLUSTER = "cluster: {framework: pytorch, roles: [train], port: 2222}\nvolumes:\n  code:"
_EGRESS = "    egress: {{{}: {{ports: [443], bytes: 1000, rate: 10}}}}"
SHARDS = "/data: {shards: [data, code], access: read}"
NETWORKS = [
    # name, clause, comment, changes, expect
    ("ok-connections", "POL-80", "connections within a workload", [("    listen: {}", NET)], "ok"),
    ("ok-ports", "POL-80", "connections to some ports",
     [("    listen: {}", NET.replace("any", "[80, 65535]"))], "ok"),
    ("ok-egress", "POL-81", "one place outside",
     [("    listen: {}", NET + "\n" + _EGRESS.format("a-1.example.org"))], "ok"),
    ("ok-restarts", "POL-18", "how often a failed instance is started again",
     [("    listen: {}", "    listen: {}\n    instances: {maximum: 2, restarts: 0}")], "ok"),
    ("ok-cluster", "POL-85", "a cluster of one workload",
     [("    listen: {}", NET), ("volumes:\n  code:", CLUSTER)], "ok"),
    ("ok-shards", "POL-86", "a volume for each instance",
     [("    listen: {}", NET), ("/data: {volume: data, access: read}", SHARDS)], "ok"),
    ("ok-cells", "POL-95", "a workload that may make cells",
     [("    listen: {}", "    listen: {}\n    cells: allowed")], "ok"),
    ("cells-denied", "POL-95", "the word for what leaving it out means",
     [("    listen: {}", "    listen: {}\n    cells: denied")], "policy.invalid"),
    ("cells-true", "POL-95", "a word that YAML readers take for something else",
     [("    listen: {}", "    listen: {}\n    cells: true")], "policy.invalid"),
    ("connections-nobody", "POL-80", "connections to a workload that there is not",
     [("    listen: {}", NET.replace("{train", "{test"))], "policy.invalid"),
    ("connections-empty", "POL-80", "connections to none",
     [("    listen: {}", NET.replace("{train: any}", "{}"))], "policy.invalid"),
    ("connections-port", "POL-80", "port 0",
     [("    listen: {}", NET.replace("any", "[0]"))], "policy.invalid"),
    ("connections-all", "POL-80", "another word for any",
     [("    listen: {}", NET.replace("any", "all"))], "policy.invalid"),
    ("connections-uncounted", "POL-83", "a network of an unknown number of instances",
     [("    listen: {}", NET.replace("    instances: {maximum: 2}\n", ""))], "policy.invalid"),
    *(
        (f"egress-{name}", "POL-81", comment,
         [("    listen: {}", NET + "\n" + _EGRESS.format(place))], "policy.invalid")
        for name, comment, place in (
            ("address", "an address", "'10.77.0.1'"),
            ("one-part", "a name of one part", "train-0"),
            ("wildcard", "a wildcard", "'*.example.org'"),
            ("dot", "a dot at the end", "example.org."),
            ("upper-case", "upper case", "Example.org"),
        )
    ),
    ("egress-unbounded", "POL-81", "no budget",
     [("    listen: {}", NET + "\n    egress: {a.example: {ports: [443], rate: 1}}")],
     "policy.invalid"),
    ("egress-nothing", "POL-81", "a budget of nothing",
     [("    listen: {}", NET + "\n    egress: {a.example: {ports: [443], bytes: 0, rate: 1}}")],
     "policy.invalid"),
    *(
        (f"host-{name}", "POL-84", comment,
         [("    listen: {}", NET.replace("{train", "{" + role)), ("  train:", f"  {role}:")],
         "policy.invalid")
        for name, comment, role in (
            ("address", "a workload with a network, called by an address", "10.77.0.1"),
            ("dots", "one with a dot", "a.b"),
            ("underscore", "one with an underscore", "a_b"),
            ("hyphen", "one with a hyphen at the end", "a-"),
            ("localhost", "one called localhost", "localhost"),
            ("long", "one with 60 letters", "a" * 60),
        )
    ),
    *(
        (f"cluster-{name}", "POL-85", comment,
         [("    listen: {}", NET), ("volumes:\n  code:", CLUSTER.replace(old, new)), *more],
         "policy.invalid")
        for name, comment, old, new, more in (
            ("nobody", "of a workload that there is not", "[train]", "[test]", []),
            ("twice", "of one workload twice", "[train]", "[train, train]", []),
            ("tensorflow", "of a task that TensorFlow does not have", "pytorch", "tensorflow", []),
            ("chiefs", "with two chiefs", "pytorch, roles: [train]",
             "tensorflow, roles: [chief]",
             [("train: any", "chief: any"), ("  train:", "  chief:")]),
            ("framework", "of a framework that there is not", "pytorch", "mxnet", []),
            ("ports", "with a port above all", "2222", "65534", []),
            ("low-port", "with a privileged port", "2222", "1023", []),
            ("variable", "with a variable of its own", "2222", "2222",
             [("{SEED:", "{RANK:")]),
            ("variables", "with a variable of Keras", "2222", "2222",
             [("{SEED:", "{KERAS_DISTRIBUTION_NUM_PROCESSES:")]),
        )
    ),
    ("cluster-uncounted", "POL-83", "of an unknown number of instances",
     [("volumes:\n  code:", CLUSTER)], "policy.invalid"),
    *(
        (f"shards-{name}", "POL-86", comment,
         [("    listen: {}", listen), ("/data: {volume: data, access: read}", shards)],
         "policy.invalid")
        for name, comment, listen, shards in (
            ("few", "fewer than instances", NET.replace("m: 2", "m: 3"), SHARDS),
            ("many", "more than instances", NET.replace("m: 2", "m: 1"), SHARDS),
            ("twice", "one volume twice", NET, SHARDS.replace("[data, code]", "[data, data]")),
            ("both", "a volume beside them", NET, SHARDS.replace("access", "volume: data, access")),
            ("uncounted", "of an unknown number of instances", "    listen: {}", SHARDS),
        )
    ),
]  # fmt: skip


LEFT_OUT = "{unchecked: the provider chooses it}"
SGX = {
    "measurement": '{one_of: ["' + "b3" * 32 + '"]}',
    "debug": "{one_of: [clear]}",
    "status": "{one_of: [UpToDate, SWHardeningNeeded]}",
    "advisories": "{within: []}",
    "hardware_id": LEFT_OUT,
    "isv_svn": "{at_least: 3}",
    "tcb": '{at_least: {"01": 7, pcesvn: 13}}',
}
EVIDENCE = [
    # name, clause, comment, changes, expect
    ("ok-evidence", "POL-35", "genuine evidence beside simulated", {}, "ok"),
    ("evidence-report-data", "POL-32", "a rule for what the protocol binds",
     {"report_data": '{one_of: ["00"]}'}, "policy.invalid"),
    ("evidence-report-data-unchecked", "POL-32", "leaving it out",
     {"report_data": LEFT_OUT}, "policy.invalid"),
    *((f"evidence-no-{name}", "POL-31", f"nothing about {name}", {name: ""}, "policy.invalid")
      for name in ("measurement", "debug", "status", "advisories")),
    ("evidence-nothing", "POL-33", "nothing is checked",
     dict.fromkeys(SGX, LEFT_OUT), "policy.invalid"),
    ("evidence-default", "POL-30", "a rule without a word", {"debug": "refused"},
     "policy.invalid"),
    ("evidence-upper-case", "POL-30", "bytes in upper case",
     {"measurement": '{one_of: ["B3"]}'}, "policy.invalid"),
]  # fmt: skip


SNP = dict.fromkeys(SGX, "") | {
    "measurement": SGX["measurement"],
    "debug": SGX["debug"],
    "policy.migrate_ma": "{one_of: [clear]}",
    "reported_tcb": "{at_least: {snp: 20}}",
    "vmpl": "{one_of: [0]}",
    "revocation_checked": "{one_of: [set]}",
}
GPU = {
    "debug": "{one_of: [clear]}",
    "measres": "{one_of: [success]}",
    "revocation": "{one_of: [good]}",
}
DEVICES = [
    # name, comment, kind, changes of the processor's rules, the accelerators' rules, expect
    ("nvidia", "a processor with GPUs", "snp", SNP, {"nvidia": GPU}, "ok"),
    ("enclave", "an enclave has none beside it", "sgx", {}, {"nvidia": GPU}, "policy.invalid"),
    ("other", "accelerators of a kind that there is not", "snp", SNP, {"amd": GPU},
     "policy.invalid"),
    ("no-measres", "nothing about their software", "snp", SNP,
     {"nvidia": GPU | {"measres": ""}}, "policy.invalid"),
    ("report-data", "a rule for what the protocol binds", "snp", SNP,
     {"nvidia": GPU | {"report_data": LEFT_OUT}}, "policy.invalid"),
    ("nothing", "nothing of them is checked", "snp", SNP,
     {"nvidia": dict.fromkeys(GPU, LEFT_OUT)}, "policy.invalid"),
    ("empty", "no kind at all", "snp", SNP, {}, "policy.invalid"),
]  # fmt: skip


def devices(kinds: dict[str, dict[str, str]]) -> str:
    """Return what stands below a section for accelerators."""
    found = "    devices:" + ("\n" if kinds else " {}\n")
    for kind, rules in kinds.items():
        found += f"      {kind}:\n        anchors: [manufacturer]\n        claims:\n"
        found += "".join(f"          {name}: {rule}\n" for name, rule in rules.items() if rule)
    return found


def evidence(changes: dict[str, str], kind: str = "sgx") -> str:
    """Return a section about genuine evidence."""
    rules = {name: rule for name, rule in (SGX | changes).items() if rule}
    lines = [f"      {name}: {rule}\n" for name, rule in rules.items()]
    return f"  {kind}:\n    anchors: [manufacturer]\n    claims:\n" + "".join(lines)


def export_to(changes: dict[str, str]) -> str:
    """Return an entry of `export` that names a service."""
    facts = {name: value for name, value in (_SERVICE | changes).items() if value}
    return "{" + ", ".join(f"{name}: {value}" for name, value in facts.items()) + "}"


REGIONS = [
    # name, comment, regions, expect
    ("ok-regions", "a class for each folder",
     "{/: authenticated, /a: encrypted, /a/b.c: plain, /x: ephemeral, /x/keep: encrypted}", "ok"),
    ("ok-region", "one region", "{/public: authenticated}", "ok"),
    ("regions-none", "no regions, written out", "{}", "policy.invalid"),
    ("regions-class", "a class that there is not", "{/a: protected}", "policy.invalid"),
    ("regions-twice", "a path twice", "{/a: encrypted, /a: encrypted}", "policy.malformed"),
    ("regions-list", "a list", "[/a]", "policy.invalid"),
    ("regions-plain-root", "a volume that is no volume", "{/: plain}", "policy.invalid"),
    ("regions-ephemeral-root", "a volume that is memory", "{/: ephemeral}", "policy.invalid"),
    ("regions-in-plain", "a protected folder in the operator's hand",
     "{/out/a/b: encrypted, /out: plain}", "policy.invalid"),
    ("regions-relative", "a relative path", "{a: encrypted}", "policy.invalid"),
    ("regions-dots", "a path that goes up", "{/a/../b: encrypted}", "policy.invalid"),
    ("regions-slash", "a path that ends in a slash", "{/a/: encrypted}", "policy.invalid"),
    ("regions-slashes", "an empty part", "{/a//b: encrypted}", "policy.invalid"),
    ("regions-deep", "seventeen parts", "{" + "/a" * 17 + ": encrypted}", "policy.invalid"),
    ("regions-many", "thirty-three regions",
     "{" + ", ".join(f"/r{n}: encrypted" for n in range(33)) + "}", "policy.invalid"),
]  # fmt: skip

FILES = 'files: {/run/a: {content: "${secret:b}"}, /etc/x/y: {content: "", mode: "0440"}}'
KEY = "ed25519:" + "e5" * 32
BOARD = f'approval: {{approvers: ["{KEY}"], threshold: 1, timeout: 60}}\n'
ACCESS = f'access: {{readers: ["{KEY}"]}}\n'

TEXTS = [
    # name, clause, comment, (old, new) pairs, expect
    ("ok", "POL-42", "the worked example", [], "ok"),
    (
        "ok-comments",
        "POL-42",
        "comments, quotes and layout leave the hash alone",
        [("name: digits", "'name':   \"digits\"   # a comment")],
        "ok",
    ),
    (
        "ok-key-order",
        "POL-42",
        "the order of keys leaves the hash alone",
        [("name: digits\nnamespace: clinic", "namespace: clinic\nname: digits")],
        "ok",
    ),
    (
        "ok-location",
        "POL-42",
        "a location hint leaves the hash alone",
        [(", location: ./code", "")],
        "ok",
    ),
    (
        "ok-unchecked",
        "POL-11",
        "a check left out, with its reason",
        [("minimum_svn: 2", "minimum_svn: {unchecked: every platform is new}")],
        "ok",
    ),
    (
        "ok-no-root",
        "POL-51",
        "an empty set of roots of trust is a policy that accepts nothing",
        [(BASE[BASE.index("roots_of_trust") : BASE.index("volumes:")], "roots_of_trust: {}\n")],
        "ok",
    ),
    (
        "ok-digests",
        "POL-14",
        "code in plain, by digest",
        [("code: {volume: code}", 'code: {digests: ["sha256:' + "c3" * 32 + '"]}')],
        "ok",
    ),
    (
        "ok-approval",
        "POL-17",
        "who approves a successor",
        [("volumes:\n  code:", BOARD + "volumes:\n  code:")],
        "ok",
    ),
    (
        "ok-access",
        "POL-17",
        "who else may read",
        [("volumes:\n  code:", ACCESS + "volumes:\n  code:")],
        "ok",
    ),
    (
        "ok-no-readers",
        "POL-17",
        "an empty list of readers is written out, and so in the hash",
        [("volumes:\n  code:", "access: {readers: []}\nvolumes:\n  code:")],
        "ok",
    ),
    (
        "ok-path",
        "POL-10",
        "a namespace of four names",
        [("namespace: clinic", "namespace: a/b/c/d")],
        "ok",
    ),
    (
        "five-names",
        "POL-10",
        "a namespace of five names",
        [("namespace: clinic", "namespace: a/b/c/d/e")],
        "policy.invalid",
    ),
    (
        "root-namespace",
        "POL-10",
        "no policy lies in the root itself",
        [("namespace: clinic", "namespace: /")],
        "policy.invalid",
    ),
    (
        "board-too-high",
        "POL-10",
        "more approvals than approvers",
        [
            (
                "volumes:\n  code:",
                BOARD.replace("threshold: 1", "threshold: 2") + "volumes:\n  code:",
            )
        ],
        "policy.invalid",
    ),
    (
        "board-zero",
        "POL-10",
        "nobody must approve",
        [
            (
                "volumes:\n  code:",
                BOARD.replace("threshold: 1", "threshold: 0") + "volumes:\n  code:",
            )
        ],
        "policy.invalid",
    ),
    (
        "board-empty",
        "POL-10",
        "a board without approvers",
        [
            (
                "volumes:\n  code:",
                "approval: {approvers: [], threshold: 1, timeout: 60}\nvolumes:\n  code:",
            )
        ],
        "policy.invalid",
    ),
    (
        "board-forever",
        "POL-10",
        "a board without a timeout",
        [("volumes:\n  code:", BOARD.replace(", timeout: 60", "") + "volumes:\n  code:")],
        "policy.invalid",
    ),
    (
        "reader-twice",
        "POL-12",
        "one reader twice",
        [("volumes:\n  code:", ACCESS.replace("]", f', "{KEY}"]') + "volumes:\n  code:")],
        "policy.invalid",
    ),
    (
        "ok-members",
        "POL-18",
        "how long certificates last, and how many instances there may be",
        [
            ("predecessor: none", "predecessor: none\ncertificate_lifetime: 3600"),
            ("    listen: {}", "    listen: {}\n    instances: {maximum: 3}"),
        ],
        "ok",
    ),
    (
        "lifetime-short",
        "POL-18",
        "a lifetime under a minute",
        [("predecessor: none", "predecessor: none\ncertificate_lifetime: 59")],
        "policy.invalid",
    ),
    (
        "lifetime-long",
        "POL-18",
        "a lifetime over a day",
        [("predecessor: none", "predecessor: none\ncertificate_lifetime: 86401")],
        "policy.invalid",
    ),
    (
        "no-instances",
        "POL-18",
        "a workload that nobody may run",
        [("    listen: {}", "    listen: {}\n    instances: {maximum: 0}")],
        "policy.invalid",
    ),
    (
        "instances-alone",
        "POL-18",
        "a number where a map is meant",
        [("    listen: {}", "    listen: {}\n    instances: 3")],
        "policy.invalid",
    ),
    (
        "alias",
        "POL-4",
        "an alias",
        [("name: digits\nnamespace: clinic", "name: &n digits\nnamespace: *n")],
        "policy.malformed",
    ),
    (
        "anchor",
        "POL-4",
        "an anchor that nothing refers to",
        [("digits", "&n digits")],
        "policy.malformed",
    ),
    (
        "tag",
        "POL-4",
        "a tag that asks for an object",
        [("name: digits", "name: !!python/object/apply:os.system [id]")],
        "policy.malformed",
    ),
    (
        "standard-tag",
        "POL-4",
        "even a harmless tag",
        [("name: digits", "name: !!str digits")],
        "policy.malformed",
    ),
    (
        "duplicate-key",
        "POL-5",
        "one key twice",
        [("name: digits", "name: digits\nname: other")],
        "policy.malformed",
    ),
    ("number-key", "POL-5", "a key that is a number", [("SEED:", "5:")], "policy.malformed"),
    (
        "map-key",
        "POL-5",
        "a key that is a map",
        [("name: digits", "? {a: b}\n: c")],
        "policy.malformed",
    ),
    (
        "two-documents",
        "POL-3",
        "a second document",
        [("output: {logs: drop}", "output: {logs: drop}\n---\na: b")],
        "policy.malformed",
    ),
    (
        "directive",
        "POL-3",
        "a directive",
        [("policy: cloister/v1", "%YAML 1.1\n---\npolicy: cloister/v1")],
        "policy.malformed",
    ),
    (
        "deep",
        "POL-6",
        "nested too deep",
        [("listen: {}", "listen: " + "[" * 40 + "]" * 40)],
        "policy.malformed",
    ),
    ("tab", "POL-3", "a tab as indentation", [("  sim:", "\tsim:")], "policy.malformed"),
    (
        "escape-nul",
        "POL-2",
        "a NUL that is spelled as an escape",
        [('"1"', '"\\0"')],
        "policy.invalid",
    ),
    (
        "yes",
        "POL-8",
        "a word that YAML 1.1 takes for true",
        [("logs: drop", "logs: yes")],
        "policy.invalid",
    ),
    (
        "norway",
        "POL-8",
        "a name that YAML 1.1 takes for false",
        [("name: digits", "name: no")],
        "policy.invalid",
    ),
    ("octal", "POL-8", "a leading zero", [("minimum_svn: 2", "minimum_svn: 02")], "policy.invalid"),
    (
        "sexagesimal",
        "POL-8",
        "a number to base 60",
        [("minimum_svn: 2", "minimum_svn: 1:30")],
        "policy.invalid",
    ),
    ("float", "POL-8", "a float", [("minimum_svn: 2", "minimum_svn: 2.0")], "policy.invalid"),
    ("null", "POL-8", "an empty value", [("minimum_svn: 2", "minimum_svn:")], "policy.invalid"),
    (
        "unknown-key",
        "POL-10",
        "an unknown key",
        [("debug:", "debugging: no-such\n    debug:")],
        "policy.invalid",
    ),
    (
        "missing-check",
        "POL-10",
        "a check that is absent",
        [("    minimum_svn: 2\n", "")],
        "policy.invalid",
    ),
    (
        "missing-runtime",
        "POL-10",
        "a workload without runtime",
        [('    runtime: ["sha256:' + "d4" * 32 + '"]\n', "")],
        "policy.invalid",
    ),
    (
        "bare-unchecked",
        "POL-11",
        "unchecked without a reason",
        [("minimum_svn: 2", "minimum_svn: unchecked")],
        "policy.invalid",
    ),
    (
        "short-reason",
        "POL-11",
        "a reason that gives none",
        [("minimum_svn: 2", "minimum_svn: {unchecked: x}")],
        "policy.invalid",
    ),
    (
        "same-anchor",
        "POL-12",
        "one anchor twice",
        [
            (
                '["ed25519:' + "a1" * 32 + '"]',
                '["ed25519:' + "a1" * 32 + '", "ed25519:' + "a1" * 32 + '"]',
            )
        ],
        "policy.invalid",
    ),
    (
        "empty-list",
        "POL-10",
        "no anchors",
        [('["ed25519:' + "a1" * 32 + '"]', "[]")],
        "policy.invalid",
    ),
    (
        "upper-case-digest",
        "POL-10",
        "a digest in upper case",
        [("sha256:" + "b2" * 32, "sha256:" + "B2" * 32)],
        "policy.invalid",
    ),
    (
        "dot-dot-mount",
        "POL-13",
        "a mount point that climbs",
        [("/data:", "/data/../etc:")],
        "policy.invalid",
    ),
    ("relative-mount", "POL-13", "a relative mount point", [("/data:", "data:")], "policy.invalid"),
    (
        "both-codes",
        "POL-14",
        "code from a volume and by digest",
        [("{volume: code}", "{volume: code, digests: []}")],
        "policy.invalid",
    ),
    (
        "integer-variable",
        "POL-15",
        "a number where a text belongs",
        [('"1"', "1")],
        "policy.invalid",
    ),
    (
        "version",
        "POL-10",
        "another version of the format",
        [("cloister/v1", "cloister/v2")],
        "policy.invalid",
    ),
    (
        "ok-secrets",
        "SEC-1",
        "secrets of every kind, an import and files",
        [("workloads:", SECRETS + "workloads:"), ("listen: {}", "listen: {}\n    " + FILES)],
        "ok",
    ),
    (
        "secret-two-kinds",
        "SEC-1",
        "a secret of two kinds",
        [("workloads:", "secrets: {a: {symmetric: {bytes: 16}, key_pair: {}}}\nworkloads:")],
        "policy.invalid",
    ),
    (
        "secret-short",
        "SEC-1",
        "too few random bytes",
        [("workloads:", "secrets: {a: {symmetric: {bytes: 15}}}\nworkloads:")],
        "policy.invalid",
    ),
    (
        "secret-alphabet",
        "SEC-1",
        "an alphabet with a character twice",
        [("workloads:", "secrets: {a: {password: {length: 9, alphabet: abcdefghia}}}\nworkloads:")],
        "policy.invalid",
    ),
    (
        "secret-dotted",
        "SEC-1",
        "a name with a dot",
        [("workloads:", "secrets: {a.b: {opaque: {max_bytes: 1}}}\nworkloads:")],
        "policy.invalid",
    ),
    (
        "secret-value",
        "SEC-1",
        "a value in the policy",
        [("workloads:", "secrets: {a: {opaque: {max_bytes: 1, value: x}}}\nworkloads:")],
        "policy.invalid",
    ),
    *(
        (
            name,
            "POL-19",
            comment,
            [("root: latest}", f"root: latest, regions: {regions}}}")],
            expect,
        )
        for name, comment, regions, expect in REGIONS
    ),
    *(
        (
            name,
            "EXT-1",
            comment,
            [("workloads:", f"secrets: {{a: {{external: {{{form}}}}}}}\nworkloads:")],
            expect,
        )
        for name, comment, form, expect in EXTERNAL
    ),
    *(
        (
            name,
            "EXP-3",
            comment,
            [("workloads:", f"secrets: {{a: {{remote: {{{form}}}}}}}\nworkloads:")],
            expect,
        )
        for name, comment, form, expect in REMOTE
    ),
    (
        "remote-export",
        "EXP-3",
        "what is imported is exported on",
        [
            (
                "workloads:",
                f"secrets: {{a: {{remote: {{{_REMOTE.format(1, 64)}}}, "
                "export: [{namespace: lab, policy: web}]}}\nworkloads:",
            )
        ],
        "policy.invalid",
    ),
    *(
        (
            name,
            "EXP-1",
            comment,
            [
                (
                    "workloads:",
                    f"secrets: {{a: {{opaque: {{max_bytes: 9}}, export: [{export_to(changes)}]}}}}"
                    "\nworkloads:",
                )
            ],
            expect,
        )
        for name, comment, changes, expect in SERVICE
    ),
    *(
        (
            name,
            clause,
            comment,
            [("volumes:\n  code", evidence(changes) + "volumes:\n  code")],
            expect,
        )
        for name, clause, comment, changes, expect in EVIDENCE
    ),
    *(
        (
            f"evidence-{kind}",
            "POL-34",
            f"a section about {kind}",
            [("volumes:\n  code", evidence({}, kind) + "volumes:\n  code")],
            "policy.invalid",
        )
        for kind in ("tpm", "nvidia", "cca")
    ),
    *(
        (
            f"{'ok-' if expect == 'ok' else ''}devices-{name}",
            "POL-36",
            comment,
            [("volumes:\n  code", evidence(changes, kind) + devices(inner) + "volumes:\n  code")],
            expect,
        )
        for name, comment, kind, changes, inner, expect in DEVICES
    ),
    *NETWORKS,
    *BUDGETS,
    ("no-secrets", "SEC-1", "an empty map", [("workloads:", "secrets: {}\nworkloads:")],
     "policy.invalid"),
    (
        "import-open",
        "SEC-1",
        "an import that does not say whose",
        [("workloads:", "imports: {a: {secret: b}}\nworkloads:")],
        "policy.invalid",
    ),
    (
        "file-mode",
        "SEC-1",
        "permission bits that are a number",
        [("listen: {}", "listen: {}\n    files: {/run/a: {content: x, mode: 400}}")],
        "policy.invalid",
    ),
    (
        "file-relative",
        "SEC-1",
        "a relative path",
        [("listen: {}", "listen: {}\n    files: {run/a: {content: x}}")],
        "policy.invalid",
    ),
]  # fmt: skip

GOOD: dict[str, Any] = {
    "workload": "train",
    "claims": {
        "root_of_trust": "sim",
        "anchor": hashlib.sha256(bytes.fromhex("a1" * 32)).hexdigest(),
        "hardware_rooted": False,
        "measurement": "b2" * 32,
        "debug": False,
        "security_version": 2,
    },
    "measurement": {"code": "c3" * 32, "runtime": "d4" * 32},
    "volume_roots": {"code": "c3" * 32, "data": "e5" * 32},
}
EMPTY = [(BASE[BASE.index("roots_of_trust") : BASE.index("volumes:")], "roots_of_trust: {}\n")]

APPRAISALS = [
    # name, clause, comment, changes to the text, (path, value), expect
    ("admitted", "POL-60", "every rule holds", [], (), "ok"),
    ("newer-platform", "POL-55", "a newer platform", [], ("claims.security_version", 3), "ok"),
    (
        "left-out",
        "POL-59",
        "an unchecked rule holds whatever is found",
        [("minimum_svn: 2", "minimum_svn: {unchecked: every platform is new}")],
        ("claims.security_version", 0),
        "ok",
    ),
    (
        "debug-accepted",
        "POL-54",
        "debug, where the policy accepts it",
        [("debug: refused", "debug: accepted")],
        ("claims.debug", True),
        "ok",
    ),
    (
        "unknown-workload",
        "POL-50",
        "a workload that the policy does not name",
        [],
        ("workload", "steal"),
        "release.workload-unknown",
    ),
    (
        "other-root-of-trust",
        "POL-51",
        "another root of trust",
        [],
        ("claims.root_of_trust", "tdx"),
        "appraisal.root-of-trust",
    ),
    (
        "empty-roots-of-trust",
        "POL-51",
        "an empty set accepts nothing",
        EMPTY,
        (),
        "appraisal.root-of-trust",
    ),
    (
        "sim-claims-hardware",
        "POL-51",
        "simulated evidence that claims hardware",
        [],
        ("claims.hardware_rooted", True),
        "appraisal.root-of-trust",
    ),
    (
        "other-platform",
        "POL-52",
        "a platform that is not named",
        [],
        ("claims.anchor", "00" * 32),
        "appraisal.root-of-trust",
    ),
    (
        "other-launcher",
        "POL-53",
        "another launcher",
        [],
        ("claims.measurement", "b3" * 32),
        "appraisal.measurement",
    ),
    ("debug", "POL-54", "an inspectable platform", [], ("claims.debug", True), "appraisal.debug"),
    (
        "old-platform",
        "POL-55",
        "an old platform",
        [],
        ("claims.security_version", 1),
        "appraisal.svn",
    ),
    ("other-code", "POL-56", "changed code", [], ("measurement.code", "c4" * 32), "appraisal.code"),
    (
        "latest-code",
        "POL-56",
        "a code volume without an exact root",
        [('root: "sha256:' + "c3" * 32 + '"', "root: latest")],
        (),
        "appraisal.code",
    ),
    (
        "undeclared-code",
        "POL-56",
        "a code volume that is not declared",
        [("code: {volume: code}", "code: {volume: elsewhere}")],
        (),
        "appraisal.code",
    ),
    (
        "other-runtime",
        "POL-57",
        "another runtime",
        [],
        ("measurement.runtime", "00" * 32),
        "appraisal.runtime",
    ),
    (
        "unregistered",
        "POL-58",
        "a volume that the key service does not have",
        [],
        ("volume_roots", {"code": "c3" * 32}),
        "release.volume-unknown",
    ),
    (
        "undeclared-volume",
        "POL-58",
        "a mount of a volume that is not declared",
        [("/data: {volume: data", "/data: {volume: elsewhere")],
        (),
        "release.volume-unknown",
    ),
    (
        "shards",
        "POL-86",
        "each shard is registered",
        [("    listen: {}", NET), ("/data: {volume: data, access: read}", SHARDS)],
        (),
        "ok",
    ),
    (
        "shard-unregistered",
        "POL-86",
        "a shard that the key service does not have refuses every instance",
        [
            ("    listen: {}", NET),
            ("/data: {volume: data, access: read}", SHARDS.replace("code]", "lost]")),
            ("  data: {id:", '  lost: {id: "' + "3" * 32 + '", root: latest}\n  data: {id:'),
        ],
        (),
        "release.volume-unknown",
    ),
    (
        "other-state",
        "POL-58",
        "a code volume whose anchored state is another",
        [],
        ("volume_roots.code", "c4" * 32),
        "appraisal.volume-root",
    ),
]


def change(text: str, pairs: list[tuple[str, str]]) -> str:
    """Apply replacements, each of which must apply once."""
    for old, new in pairs:
        if text.count(old) < 1:
            raise SystemExit(f"nothing to change: {old}")
        text = text.replace(old, new, 1)
    return text


def canonical(text: str) -> bytes:
    """Return the canonical form, made without the code under test."""
    tree = yaml.safe_load(text)
    for volume in tree["volumes"].values():
        volume.pop("location", None)
    return cbor2.dumps(tree, canonical=True)


def hash_of(data: bytes) -> str:
    """Return the hash of a canonical form."""
    parts = (LABEL, data)
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hashlib.sha256(framed).hexdigest()


def write(name: str, record: dict[str, Any]) -> None:
    """Write one vector."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write every vector."""
    for old in HERE.glob("*.json"):
        old.unlink()
    for name, clause, comment, pairs, expect in TEXTS:
        text = change(BASE, pairs)
        record: dict[str, Any] = {"comment": comment, "clause": clause, "text": text}
        if expect == "ok":
            data = canonical(text)
            record |= {"canonical": data.hex(), "hash": hash_of(data)}
        write(f"text-{name}", record | {"expect": expect})
    for name, clause, comment, data, expect in [
        ("not-utf-8", "POL-2", "a foreign byte", BASE.encode() + b"\xff", "policy.malformed"),
        ("byte-order-mark", "POL-2", "a byte order mark", BOM + BASE.encode(), "policy.malformed"),
        ("nul", "POL-2", "a NUL byte", BASE.encode() + b"\0", "policy.malformed"),
        ("empty", "POL-3", "nothing at all", b"", "policy.malformed"),
    ]:  # fmt: skip
        record = {"comment": comment, "clause": clause, "text_hex": data.hex(), "expect": expect}
        write(f"text-{name}", record)
    good = canonical(BASE)
    tree = cbor2.loads(good)
    tree["volumes"]["code"]["location"] = "./code"
    located = cbor2.dumps(tree, canonical=True)
    del tree["name"], tree["volumes"]["code"]["location"]
    nameless = cbor2.dumps(tree, canonical=True)
    tree["name"] = b"digits"
    octets = cbor2.dumps(tree, canonical=True)
    for name, clause, comment, data, expect in [
        ("ok", "POL-40", "the worked example", good, "ok"),
        ("location", "POL-43", "with a location hint", located, "policy.malformed"),
        ("trailing", "POL-43", "a byte too many", good + b"\0", "policy.malformed"),
        ("truncated", "POL-43", "a byte too few", good[:-1], "policy.malformed"),
        ("empty", "POL-43", "nothing", b"", "policy.malformed"),
        ("nameless", "POL-43", "without a name", nameless, "policy.invalid"),
        ("octets", "POL-43", "a byte string for a name", octets, "policy.invalid"),
        ("map-order", "POL-43", "keys in another order", cbor2.dumps(cbor2.loads(good)
         | {"a": 1}), "policy.malformed"),
    ]:  # fmt: skip
        record = {"comment": comment, "clause": clause, "canonical": data.hex()}
        record |= {"hash": hash_of(data)} if expect == "ok" else {}
        write(f"canonical-{name}", record | {"expect": expect})
    for name, clause, comment, pairs, patch, expect in APPRAISALS:
        record = {"comment": comment, "clause": clause, "text": change(BASE, pairs)}
        record |= json.loads(json.dumps(GOOD))
        if patch:
            path, value = patch
            *folders, last = path.split(".")
            target = record
            for folder in folders:
                target = target[folder]
            target[last] = value
        write(f"appraise-{name}", record | {"expect": expect})


if __name__ == "__main__":
    main()
