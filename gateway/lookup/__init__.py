"""Features that a record does not bring: looked up by a key of it, in a store outside."""

from gateway.lookup.lookups import Lookups

__all__ = ["Lookups"]
