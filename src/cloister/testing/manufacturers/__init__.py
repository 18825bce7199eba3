"""Simulated manufacturers: each mints a whole PKI, collateral and byte-exact evidence from a seed.

What they make goes through the verifiers of the real ones, under anchors of their own, and is
refused under the manufacturers' pinned roots. Nothing that ships imports this.
"""
