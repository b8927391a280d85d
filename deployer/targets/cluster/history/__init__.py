"""The history of rollouts in a cluster: ConfigMaps, and the Lease that says which deployer is at work."""
