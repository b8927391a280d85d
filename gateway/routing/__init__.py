"""Which label a request goes to, and which label it is mirrored to."""
