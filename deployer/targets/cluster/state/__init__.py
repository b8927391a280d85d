"""The state of a release in a cluster: its objects, its resource usage, and their problems."""
