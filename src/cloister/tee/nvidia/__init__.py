"""NVIDIA GPUs: signed SPDM reports of Hopper and Blackwell, compared with NVIDIA's manifests.

Evidence is one report (`application/vnd.cloister.nvidia`, its chain an endorsement) or the list
of several that NVIDIA defines (`application/vnd.cloister.nvidia+json`), or the same packed
(`application/vnd.cloister.nvidia+cbor`).

Example::

    verifier = NvidiaVerifier(tuple(NVIDIA_ROOTS))
    claims = verifier.verify(evidence, [chain, driver_rim, vbios_rim, *revocation], at=now)
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    verdict.accepted, verdict.reasons
"""
