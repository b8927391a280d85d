"""Batch predictions: whole files of records through the gateways of a release.

It stands in the subject `release`, not in `models`, because it needs the endpoint of a release.
"""
