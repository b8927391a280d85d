"""Versions of a model measured beside each other: accuracy and cost."""
