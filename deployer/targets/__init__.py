"""Where a release runs: processes on this machine, or a cluster."""
