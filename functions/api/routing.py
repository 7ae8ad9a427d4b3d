"""Routes that cost little to make: all of them are made before a process answers for the first time."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field

from functions.api.parameters import accepts, known_parameters

JSON = "application/json"


class AnswerRoute(APIRoute):
    """A route whose handler encodes its answer itself.

    `response_model` is the name of a class in `functions.api.models`. It describes the answer in the OpenAPI document
    and does nothing else, so that it is imported and compiled when the document is built.
    """

    def __init__(self, path: str, endpoint: Any, *, response_model: Any = None, **given: Any) -> None:
        super().__init__(path, endpoint, response_model=None, **given)
        self._answer: str | None = response_model if isinstance(response_model, str) else None

    def describe(self) -> None:
        """Look the model up, for the OpenAPI document."""
        if self._answer is not None and self.response_field is None:
            from functions.api import models

            self.response_model = getattr(models, self._answer)
            self.response_field = create_model_field(
                name=f"Response_{self.unique_id}", type_=self.response_model, mode="serialization"
            )


def router_of(
    tag: str = "", *media_types: str, route_class: type[APIRoute] = AnswerRoute, in_schema: bool = True
) -> APIRouter:
    """Return a router whose routes refuse parameters that they do not read, and clients that take no `media_types`.

    Its routes are the application's own: a router that FastAPI includes is worked out a second time.
    """
    taken = [Depends(accepts(*media_types))] if media_types else []
    return APIRouter(
        tags=[tag] if tag else None,
        route_class=route_class,
        dependencies=[Depends(known_parameters), *taken],
        include_in_schema=in_schema,
    )
