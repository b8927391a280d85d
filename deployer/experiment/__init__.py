"""Experiments: how much load each number of replicas can sustain, and sizing from that."""
