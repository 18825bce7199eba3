"""The key service: keys only to what a policy names, proved by evidence; anchors; a log.

Example, on the side that asks::

    client = ReleaseClient(transport, service=domain.identity, origin=domain.log_origin,
                           clock=read_clock)
    release = client.release(policy=policy_hash, workload="train", instance="run-1",
                             measurement=measurement, attester=SimAttester(platform))
    release.bundle.command, release.bundle.volumes
"""
