"""Why a release is unhealthy: each cause with its evidence and its remedy."""
