"""The history of rollouts in a cluster: ConfigMaps, and the Lease that says who is at work."""
