"""The Open Inference Protocol, version 2 ("KServe v2"): REST, JSON and binary tensors."""
