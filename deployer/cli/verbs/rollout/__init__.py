"""Verbs of the subject `deployer/rollout`."""
