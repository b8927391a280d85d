"""The calls that gRPC, REST and warm-up share: what a request asks of a loaded version."""
