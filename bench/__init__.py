"""Benchmarks. They print figures and assert nothing; run one with `python -m bench NAME`."""
