"""The network shield: the only importer of `ssl`.

Example::

    context = client_context(ca_pem=ca, expected=identity, credential=None, clock=clock)
    connection = connect(("127.0.0.1", 8443), context=context, timeout_s=10)
    print(connection.peer.policy_hash.hex(), connection.peer.hardware_rooted)
"""
