"""What terms leave open, in sentences for those who are about to sign them. Pure.

Spec: cleanroom-terms-v1, clause CT-71.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloister.cleanroom.terms import Terms

__all__ = ["remarks"]


def remarks(terms: Terms) -> Iterator[str]:
    """Yield a sentence for each thing that an owner might not have meant to agree to."""
    if terms.roots_of_trust.sim is not None:
        yield "simulated evidence is accepted: no hardware keeps whoever runs the machines out"
    if terms.privacy is None:
        yield "no privacy is enforced: nothing bounds what the model tells of a single record"
    if terms.training.by == "recipe":
        yield "the recipe trains: it can put what it sees into the model, up to the norm allowed"
    if not terms.canaries:
        yield "no canaries: what the model remembers is not measured"
    elif terms.release.receipt == "exposure":
        yield "the server's receipt tells the operator what canaries showed, in tenths of bits"
    for layer in terms.cell.accept_missing:
        yield f"a machine may lack the layer {layer} of the recipe's confinement"
    if terms.queries.answer == "rounded":
        yield (
            f"answers say scores of {terms.queries.digits} digits: more of the model than labels do"
        )
    if terms.queries.stealing.action == "count":
        yield "queries that look like copying the model are counted, and answered"
    asked = terms.queries.limit * len(terms.queries.principals)
    yield f"the model answers at most {asked} queries, {terms.queries.limit} of each principal"
    who = {
        "either": "either owner alone",
        "both": "both owners together only",
        "model_owner": "the model owner alone",
        "data_owner": "the data owner alone",
    }[terms.close.who]
    yield f"the room can be ended by {who}"
