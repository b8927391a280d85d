"""What holds for all tests of the packages."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A machine that is busy with something else must not fail a test, so no example has a deadline.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
