"""What clients send: checked when it arrives, and so imported with the routes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from functions.api.parameters import ENTITY, Kind, Stage


class RuleDraft(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    entity: Annotated[
        str | None,
        Field(
            pattern=ENTITY,
            description="Only this entity, such as `$BTC`.",
            examples=["$BTC"],
        ),
    ] = None
    kind: Annotated[Kind | None, Field(description="Only entities of this kind.")] = None
    stage: Annotated[Stage, Field(description="The stage that fires the alert when it is reached.")] = "rising"
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.0
