"""Distributed and federated training: programs that a policy's command names, and what they use."""
