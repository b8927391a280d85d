"""`deployer demo`: the main job on this machine, on real data."""
