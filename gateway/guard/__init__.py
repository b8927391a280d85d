"""What stands before a request: how many are let in, who may ask, and how much."""
