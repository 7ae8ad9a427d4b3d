"""The operator's commands, run beside the private database."""
