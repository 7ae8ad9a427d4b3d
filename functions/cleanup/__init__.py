"""The function that forgets what is only kept for a while."""
