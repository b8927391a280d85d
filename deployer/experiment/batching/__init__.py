"""Whether batching in the model server is worthwhile, and with which parameters."""
