"""What verbs with more than a table show a person."""
