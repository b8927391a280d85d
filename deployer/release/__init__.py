"""A release: deployer.yaml, the files rendered from it, and its deployment locally or in a cluster."""
