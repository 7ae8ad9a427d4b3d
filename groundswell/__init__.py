"""Groundswell: real-time intelligence on live social streams, on a budget."""

__version__ = "0.1.0"
