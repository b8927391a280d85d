"""Replays recorded requests against a model server and compares its responses with a recording. See ../README.md."""
