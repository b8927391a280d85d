"""Gates: measured before and during traffic, and judged by statistical tests."""
