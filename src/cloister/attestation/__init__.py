"""The words of RFC 9334 as types: evidence, claims, binding, appraisal. No I/O.

Example::

    report_data = bind(service=pinned, nonce=challenge.nonce, ...)
    evidence = attester.collect(report_data)                    # inside
    claims = verifier.verify(evidence, endorsements, at=now)    # at the key service
    result = appraise(claims, evidence_policy, report_data=report_data)
"""
