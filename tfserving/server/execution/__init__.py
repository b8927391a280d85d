"""Running a loaded version: signatures, batching, warm-up, and the calls that gRPC and REST share."""
