"""Broadcasting to WebSocket clients whose sockets API Gateway holds."""
