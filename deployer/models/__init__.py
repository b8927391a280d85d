"""The model store: export, publish, list, inspect, verify, prune."""
