"""Running a loaded version: the TensorFlow runtime, signatures, and batching."""
