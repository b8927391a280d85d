"""The model store, and what enters it: export, publish, list, inspect, verify, prune."""
