"""Output tensors to predictions: pure functions over whole requests."""
