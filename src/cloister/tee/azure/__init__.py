"""Azure's confidential VMs: a hardware report, the vTPM key that it covers, and that key's quote.

`layout` reads what the vTPM holds and makes evidence of it, `verifier` composes the verifiers of
SNP reports or TD quotes with that of quotes, `fields` what a policy may ask. Endorsements are those
of the hardware report; there are no roots of Azure's own.

Example::

    hcl = HclReport.from_bytes(nv_index)
    body = AzureEvidence.of(hcl, QuoteParts(message, signature, pcr_values, event_log)).to_bytes()
    claims = AzureSnpVerifier(amd_anchors).verify(Evidence(SNP_TYPE, body), amd_given, at=now)
    rules = default_rules(SNP_FIELDS_OF_AZURE) | {
        "report_data": OneOf((nonce,)),
        "measurement": OneOf((azure_firmware,)),
        "tpm.pcrs.sha256.7": OneOf((expected,)),
    }
    verdict = appraise_claims(claims, SNP_FIELDS_OF_AZURE, rules)

On TDX, `azure_tdx_verifier(intel_anchors)` and `TDX_FIELDS_OF_AZURE` of `tdx` take their place, and
the endorsements are Intel's collateral.
"""
