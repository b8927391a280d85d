"""Plots and the HTML report of an experiment."""
