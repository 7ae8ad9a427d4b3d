"""What is stored in Postgres."""
