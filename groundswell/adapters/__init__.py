"""One module for each real thing the platform talks to."""
