"""Deployment of a release to a cluster: plan, apply, verify."""
