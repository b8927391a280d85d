"""Records to tensors, by column."""
