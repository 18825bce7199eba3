"""Where endorsements come from: manufacturers' services, asked, cached, and put into one bundle.

This is edge code: it does I/O, and judges only whether an answer answers its question. Whether what
was said is true is judged where evidence is verified, by the endorsers' own signatures. A source
can keep something back, or give what is old but still counts; it cannot make anything count.

Example::

    asking = Asking(Services.of([]), Cache.open(folder), send=ask, authorities=None)
    wish = wish_of(evidence, "tdx", product="", endorsements=[])
    items = collect([wish], asking.answer)
    bundle, data = EndorsementBundle.make(items, key)

Spec: endorsement-sources-v1.
"""
