"""Open-loop load, latency from the scheduled time."""
