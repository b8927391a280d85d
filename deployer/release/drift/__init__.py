"""`deployer drift`: live records and scores against the training data of the versions that served them."""
