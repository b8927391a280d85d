"""Export: from a trained model to a version in the store."""
