"""AMD SEV-SNP: attestation reports of versions 2 to 5, of Milan, Genoa and Turin.

`layout` knows AMD's bytes, `certificate` the odd certificates of its signing keys, `endorsements`
judges chains and revocation, `verifier` is the numbered procedure, `fields` what a policy may ask.
`host_table` reads what a host puts beside a report, `expected` computes the measurement that an
image will have (extra `snp-measure`).

Example::

    anchors = [root.sha256 for root in AMD_ROOTS]
    claims = SnpVerifier(anchors).verify(
        Evidence(MEDIA_TYPE, report),
        [
            Endorsement(CERTIFICATE_TYPE, vcek_der),
            Endorsement(CHAIN_TYPE, ask_and_ark_pem),
            Endorsement(LIST_TYPE, crl_der),
        ],
        at=now,
    )
    rules = default_rules(FIELDS) | {
        "measurement": OneOf((expected,)),
        "report_data": OneOf((bound,)),
        "reported_tcb": AtLeast({"snp": 24, "microcode": 219}),
    }
    verdict = appraise_claims(claims, FIELDS, rules)
"""
