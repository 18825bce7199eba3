"""Intel TDX: quotes of TDs, versions 4 and 5, with the event log that explains their RTMRs.

Example::

    verifier = TdxVerifier((INTEL_SGX_ROOT_CA,))
    evidence = Evidence("application/vnd.cloister.tdx", quote)
    bundle = Endorsement("application/vnd.cloister.intel-collateral+json", collateral)
    claims = verifier.verify(evidence, (bundle,), at=now)
    rules = default_rules(FIELDS) | {"measurement": OneOf((mr_td,)), "rtmr1": OneOf((kernel,))}
    verdict = appraise_claims(claims, FIELDS, rules)

With an event log: `Evidence(LOGGED_TYPE, LoggedQuote(quote, "ccel", log).to_bytes())`.

Spec: intel-evidence-v1.
"""
