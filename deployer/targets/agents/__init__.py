"""Shared parts of the pods that the deployer starts itself: their HTTP server and their pod spec."""
