"""External programs, one module each."""
