"""Long-running work and use cases over the ports: they never name an adapter."""
