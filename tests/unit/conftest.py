"""No test depends on how fast the machine is: property tests have no deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("hcopt", deadline=None)
settings.load_profile("hcopt")
