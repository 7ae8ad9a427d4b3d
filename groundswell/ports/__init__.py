"""What the services need from the world, as Protocols. Adapters fulfil them; `wiring` brings the two together."""
