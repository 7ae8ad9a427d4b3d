"""Requests to the vector index through a Lambda function, for processes that cannot reach it themselves.

`transport` is the side of the process that asks: httpx sends its requests as events to the function. `forwarder` is
the function's side: it sends what is allowed on to the one cluster, with the key.
"""
