"""Checks of a version on the model server that will serve it: whether it loads, and whether its outputs are correct."""
