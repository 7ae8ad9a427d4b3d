"""The commands of `groundswell`, one module for each. `groundswell.cli` puts them together."""
