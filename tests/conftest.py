"""What every test shares: hypothesis profiles (30 examples; 120 and derandomised in CI)."""

import os

from hypothesis import HealthCheck, settings

_SUPPRESSED_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much]
settings.register_profile("quick", max_examples=30, deadline=None, suppress_health_check=_SUPPRESSED_CHECKS)
settings.register_profile(
    "ci", max_examples=120, deadline=None, suppress_health_check=_SUPPRESSED_CHECKS, derandomize=True
)
# Google's client asks for a bucket's kind by a protocol that the server of the tests does not have; read when it is imported.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

settings.load_profile("ci" if os.environ.get("CI") else "quick")
