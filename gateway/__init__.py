"""The preprocessing gateway: records in, predictions out, in front of TensorFlow Serving."""
