"""What clients call: one module a kind of body, and the errors that they get."""
