"""A local release: processes on this machine."""
