"""External programs, each behind one module."""
