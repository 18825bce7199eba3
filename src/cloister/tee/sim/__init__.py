"""The simulated root of trust: real measurements and real signatures, by a key in a file.

It is a root of trust of its own, never a mode of another: own media type, no built-in trust
anchor, and `hardware_rooted` false in every claim. Whoever can read the platform's directory can
sign anything; what it gives is the whole system end to end on a machine without a TEE.

Example::

    platform = SimPlatform.create(directory, svn=1, debug=False)
    evidence = SimAttester(platform).collect(report_data)
    claims = SimVerifier((platform.anchor,)).verify(evidence, (), at=now)
"""
