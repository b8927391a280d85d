"""What several verbs are called with, and the requests that these options become."""
