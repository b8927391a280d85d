"""Domain values to the text of every file that a release needs."""
