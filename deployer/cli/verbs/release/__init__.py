"""Verbs of the subject `deployer/release`."""
