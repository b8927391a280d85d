"""The deployer: from a trained model to a canaried, measured release."""
