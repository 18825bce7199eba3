"""The two-sided service: a model owner, a data owner, and the terms between them.

Example::

    room = load_room(Path("/code/terms.cbor"))
    room.terms.training.rounds
"""
