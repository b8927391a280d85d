"""Gates: measured before and during traffic, and judged by tests that say how sure they are."""
