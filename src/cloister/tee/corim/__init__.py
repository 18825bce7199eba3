"""CoRIM: reference values as a file of their own, read strictly.

Form: draft-ietf-rats-corim-11 (6 July 2026), sections 4 and 5: an unsigned `corim-map` (tag 501),
or one within COSE_Sign1 (tag 18); either may stand within the tag 500, which that draft reserves
for what was written before. Of its tags CoMIDs are read, and of those reference triples. Whatever
else there is, is told in `unread`: nothing is dropped without a word.

Example::

    corim = Corim.from_bytes(data)
    corim.require_signed(key, at=now)
    found = translate(corim, "tdx", FIELDS)
    rules |= found.merged()

Spec: reference-values-v1.
"""

from cloister.tee.corim.comid import ReferenceTriple, Statement
from cloister.tee.corim.document import CONTENT_TYPE, Corim, CorimSignature
from cloister.tee.corim.translation import ReferenceValues, translate
from cloister.tee.corim.values import MAX_CORIM_BYTES, Validity

__all__ = [
    "CONTENT_TYPE",
    "MAX_CORIM_BYTES",
    "Corim",
    "CorimSignature",
    "ReferenceTriple",
    "ReferenceValues",
    "Statement",
    "Validity",
    "translate",
]
