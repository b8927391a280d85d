"""An embedded, TensorFlow-Serving-compatible model server."""
