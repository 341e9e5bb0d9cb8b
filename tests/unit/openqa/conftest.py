"""Properties have no time limit of their own: machines are shared, and pytest has one."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
