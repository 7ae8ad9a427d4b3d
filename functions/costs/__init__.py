"""The weekly report on what the deployment costs."""
