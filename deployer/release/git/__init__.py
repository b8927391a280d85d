"""The state of a release in a cluster, as values files in a Git repository."""
