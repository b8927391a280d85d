"""A release in a Kubernetes cluster, as the two charts installed it."""
