"""A release as processes on this machine."""
