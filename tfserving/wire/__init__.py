"""Messages, methods and tensors as they travel between a client and a model server."""
