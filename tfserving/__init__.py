"""TensorFlow Serving's public contract: wire messages, configuration files, a client and an embedded server."""
