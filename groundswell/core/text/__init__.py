"""Text as it is written and as it is compared."""
