"""Records in files: read, sent to a release, and compared with the expected predictions."""
