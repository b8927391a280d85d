"""Experiments: how much load each number of replicas carries, and what follows from that."""
