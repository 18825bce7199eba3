"""TPM 2.0: quotes over PCRs, by a certified or pinned attestation key, with the firmware's log.

`layout` knows the TPM's structures, `event_log` the firmware's log, `quote` judges a quote under a
given key, `endorsements` says who vouches for the key, `verifier` is the numbered procedure.

Example::

    body = TpmEvidence(ak_spki, QuoteParts(message, signature, pcr_values, event_log)).to_bytes()
    claims = TpmVerifier([sha256(ak_spki)]).verify(Evidence(MEDIA_TYPE, body), [], at=now)
    rules = default_rules(FIELDS) | {
        "report_data": OneOf((nonce,)),
        "pcrs.sha256.7": OneOf((expected,)),
        "secure_boot": OneOf(("on",)),
    }
    verdict = appraise_claims(claims, FIELDS, rules)
"""
