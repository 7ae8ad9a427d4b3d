"""Groundswell on AWS: the app, its stacks and the constructs they wire together. Imports nothing that runs there."""
