"""AWS Nitro Enclaves: attestation documents that the hypervisor signs. Verifying only.

Example::

    claims = NitroVerifier(tuple(NITRO_ROOTS)).verify(evidence, (), at=now)
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    verdict.accepted, verdict.reasons
"""
