"""A release: deployer.yaml, the files rendered from it, and bringing it up on this machine or in a cluster."""
