"""What runs behind API Gateway, or under uvicorn on one machine."""
