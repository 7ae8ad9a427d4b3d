"""The paths and methods that the API answers, as its routers declare them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import APIRouter
from fastapi.routing import APIRoute


class Surface:
    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._routes: Sequence[APIRoute] = [
            route for router in routers for route in router.routes if isinstance(route, APIRoute)
        ]

    @property
    def paths(self) -> list[str]:
        """Path templates, such as `/v1/posts/{id}`."""
        return sorted({route.path_format for route in self._routes})

    def methods_at(self, path: str) -> tuple[str, ...]:
        """The methods that work on a path, HEAD included; empty where there is no such path."""
        methods = {method for route in self._routes if route.path_regex.match(path) for method in route.methods or ()}
        if "GET" in methods:
            methods.add("HEAD")
        return tuple(sorted(methods))
