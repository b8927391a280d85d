"""Records in files: read, sent to a release, and compared with the predictions that were expected."""
