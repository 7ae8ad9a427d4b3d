"""Brings the schema up to date, before anything that needs it is deployed."""
