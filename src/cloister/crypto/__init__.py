"""The only importer of `cryptography`: AEAD, key derivation, signatures, HPKE, certificates.

Each recipe has one algorithm and no options. Checks raise; nothing returns a boolean that a
caller could drop.
"""
