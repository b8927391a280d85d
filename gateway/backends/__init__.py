"""The model servers behind the gateway: which one is called, over what, and when again."""
