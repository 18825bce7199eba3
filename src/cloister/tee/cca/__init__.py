"""Arm CCA: tokens of a platform and of a realm on it, each signed. Verifying only.

Arm pins no root: the key of each accepted platform is an anchor, and nothing here is ever called
rooted in hardware.

Example::

    claims = CcaVerifier([sha256(platform_key_spki)]).verify(evidence, [platform_jwk], at=now)
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    verdict.accepted, verdict.reasons
"""
