"""What the pods that the deployer starts itself have in common: their HTTP server and their pod spec."""
