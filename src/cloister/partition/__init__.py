"""Cutting a model: what is in it, where it can be cut, and its parts as files that run."""
