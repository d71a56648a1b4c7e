"""What all parts of a result are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(max_length=100_000)]
Count = Annotated[int, Field(ge=0)]


class Model(BaseModel):
    """Results are never changed once made; keys of later versions of the tool are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")
