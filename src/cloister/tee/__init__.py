"""Roots of trust, one folder each; `registry` lists them in one table.

Example::

    from cloister.tee.registry import by_media_type

    root = by_media_type(evidence.media_type)
    claims = root.verifier(anchors).verify(evidence, (), at=now)
"""
