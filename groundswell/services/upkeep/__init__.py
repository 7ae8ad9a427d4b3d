"""What keeps the parts of the platform in order."""
