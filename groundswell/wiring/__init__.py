"""The composition root: the only place that knows which adapter fulfils which port.

One module for each shape: `embedded` is everything in one process on engines of its own, `relay` and `api` are the
split services. Each imports only what its process needs.
"""
