"""A release in a Kubernetes cluster, installed by the two charts."""
