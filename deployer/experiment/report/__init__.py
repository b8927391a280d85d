"""Pictures and pages that show an experiment."""
