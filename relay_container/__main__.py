"""`python -m relay_container`: what the image runs. Its health check is `relay_container.check`.

SIGTERM drains: what was read is committed within the 30 seconds that Fargate leaves, and the time away is a gap.
"""

from __future__ import annotations

import sys

from groundswell.commands import console, services

if __name__ == "__main__":
    sys.exit(console.exit_code_of(services.relay))
