"""The function that moves old posts to the archive."""
