"""What env.schema.json says, and all that is made from it. Pure: only `settings` reads the environment,
and `references` the variables that AWS defines."""
