"""A policy as plain manifests for Confidential Containers; pure: text in, text out.

Everything that is written here is the operator's to read and to change. What keeps him from using
what he changed is the key service.
"""
