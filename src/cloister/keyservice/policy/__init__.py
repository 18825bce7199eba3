"""The policy: what may run, what it gets, whom it may talk to, what may come out (design D4).

Example::

    policy = parse_policy(Path("policy.yaml").read_bytes(), source="policy.yaml")
    name = policy_hash(policy)                                     # 32 bytes
    result = appraise(policy, "train", claims, measurement, volume_roots={"code": root})
"""

from cloister.keyservice.policy.canonical import (
    canonical_bytes,
    policy_from_canonical,
    policy_hash,
)
from cloister.keyservice.policy.model import Policy, Unchecked, Workload
from cloister.keyservice.policy.reader import diagnose, parse_policy

__all__ = [
    "Policy",
    "Unchecked",
    "Workload",
    "canonical_bytes",
    "diagnose",
    "parse_policy",
    "policy_from_canonical",
    "policy_hash",
]
