"""Whether batching in the model server pays, and with which parameters."""
