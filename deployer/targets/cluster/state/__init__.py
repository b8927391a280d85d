"""The state of a release in a cluster as it is read: objects, usage, and what they mean."""
