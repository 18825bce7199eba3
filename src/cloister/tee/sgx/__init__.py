"""Intel SGX: quotes of enclaves, by DCAP (ECDSA), of versions 3, 4 and 5.

Example::

    verifier = SgxVerifier((INTEL_SGX_ROOT_CA,))
    evidence = Evidence("application/vnd.cloister.sgx", quote)
    bundle = Endorsement("application/vnd.cloister.intel-collateral+json", collateral)
    claims = verifier.verify(evidence, (bundle,), at=now)
    rules = default_rules(FIELDS) | {"measurement": OneOf((mr_enclave,))}
    verdict = appraise_claims(claims, FIELDS, rules)

Spec: intel-evidence-v1.
"""
