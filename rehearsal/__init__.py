"""AWS on one machine: what was deployed is run as AWS would run it, and driven as a user would."""
