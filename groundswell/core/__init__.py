"""Pure logic: values in, values out. No clock, no I/O, no environment."""
