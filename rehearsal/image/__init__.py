"""Builds the relay's image without a Docker daemon, and runs what was built: `python -m rehearsal.image`."""
