"""The relay as a container: `python -m relay_container`."""
