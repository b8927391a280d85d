"""Verbs of the subject `deployer/models`."""
