"""Who may ask, for which models, and how often: API keys and JSON Web Tokens."""
