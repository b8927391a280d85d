"""Rollouts: a new version gets traffic step by step, is judged by gates, and is promoted or rolled back."""
