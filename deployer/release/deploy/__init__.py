"""A release brought into a cluster: decided first, then done, then proven."""
