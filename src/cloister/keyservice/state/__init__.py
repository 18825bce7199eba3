"""The key service's state as a journal: sealed, chained records over any durable store of rows.

A change is decided on tables in memory, becomes one record, and is there once a `Backend` has made
that record durable under the next number. What a backend keeps is ciphertext whose order and
completeness the chain shows, so that it needs to be durable and need not be trusted.

Spec: keyservice-state-v1.
"""
