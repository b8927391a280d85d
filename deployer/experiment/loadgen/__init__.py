"""The load generator: open-loop load, latency from the scheduled time."""
