"""Which versions are wanted, which are loaded, and the way from one to the other."""
