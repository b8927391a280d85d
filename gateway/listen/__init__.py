"""The listening side of the process, where uvicorn is not enough."""
