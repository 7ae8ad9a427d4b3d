"""The part of Qdrant's REST API that the embedded engine speaks: requests as types, and their translation.

Shapes follow https://api.qdrant.tech. What is not spoken is refused by name, never ignored: an ignored filter would
answer with points that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import qdrant_edge as edge
from msgspec import Meta

from groundswell.adapters.qdrant_embedded.limits import (
    MAX_CONDITION_ITEMS,
    MAX_CONDITIONS,
    MAX_DIMENSIONS,
    MAX_EF,
    MAX_FILTER_DEPTH,
    MAX_LIMIT,
    at_most,
)
from groundswell.adapters.qdrant_embedded.refused import Refused

PointId: TypeAlias = int
"""`check_ids` says whether it is one: a server refuses another with 400, not with 422."""
Limit: TypeAlias = Annotated[int, Meta(ge=1)]
Offset: TypeAlias = Annotated[int, Meta(ge=0)]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)]
Memory: TypeAlias = Literal["cold", "cached", "pinned"]
Distance: TypeAlias = Literal["Cosine", "Dot", "Euclid"]
Datatype: TypeAlias = Literal["float32", "uint8"]
Settings: TypeAlias = dict[str, Any]
"""Taken without effect and described as they were given."""


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """Unknown fields are refused: see the module's docstring."""


# ------------------------------------------------------------------ collections
class VectorParams(_Request, omit_defaults=True):
    size: Size
    distance: Distance
    on_disk: bool | None = None
    memory: Memory | None = None
    datatype: Datatype | None = None
    hnsw_config: Settings | None = None


class ScalarQuantization(_Request, omit_defaults=True):
    type: Literal["int8"]
    quantile: float | None = None
    always_ram: bool | None = None
    memory: Memory | None = None


class Quantization(_Request):
    """Taken and met: every vector is kept as one byte a dimension. Other kinds are refused."""

    scalar: ScalarQuantization


class CreateCollection(_Request):
    """All but the vectors is taken for a server's sake: shards of this engine's size are looked through."""

    vectors: dict[str, VectorParams]
    on_disk_payload: bool | None = None
    payload: Settings | None = None
    quantization_config: Quantization | None = None
    hnsw_config: Settings | None = None
    optimizers_config: Settings | None = None


class VectorParamsDiff(_Request, omit_defaults=True):
    on_disk: bool | None = None
    memory: Memory | None = None
    hnsw_config: Settings | None = None


class UpdateCollection(_Request):
    """Taken without effect but on what the collection's description says."""

    vectors: dict[str, VectorParamsDiff] | None = None
    quantization_config: Quantization | None = None
    hnsw_config: Settings | None = None
    optimizers_config: Settings | None = None


class DenseVector(_Request, omit_defaults=True):
    size: Size
    distance: Distance
    datatype: Datatype | None = None


class CreateVectorName(_Request):
    dense: DenseVector


IndexType: TypeAlias = Literal["keyword", "integer", "float", "bool", "datetime"]


class IndexParams(_Request, omit_defaults=True):
    type: IndexType
    lookup: bool | None = None
    range: bool | None = None
    is_principal: bool | None = None
    is_tenant: bool | None = None
    on_disk: bool | None = None
    memory: Memory | None = None


class CreateIndex(_Request):
    field_name: str
    field_schema: IndexType | IndexParams

    def params(self) -> IndexParams:
        schema = self.field_schema
        return IndexParams(type=schema) if isinstance(schema, str) else schema


# ------------------------------------------------------------------ points
class PointStruct(_Request, gc=False):
    id: PointId
    vector: dict[str, list[float]]
    payload: dict[str, Any] | None = None


class Upsert(_Request):
    points: list[PointStruct]


class Match(_Request, omit_defaults=True):
    value: str | int | bool | None = None
    any: list[str | int] | None = None


class Range(_Request):
    gte: float | str | None = None
    gt: float | str | None = None
    lte: float | str | None = None
    lt: float | str | None = None


class Condition(_Request):
    key: str | None = None
    match: Match | None = None
    range: Range | None = None
    has_id: list[PointId] | None = None
    must: list[Condition] | Condition | None = None
    should: list[Condition] | Condition | None = None
    must_not: list[Condition] | Condition | None = None


class Filter(_Request):
    must: list[Condition] | Condition | None = None
    should: list[Condition] | Condition | None = None
    must_not: list[Condition] | Condition | None = None


class DeletePoints(_Request):
    points: list[PointId] | None = None
    filter: Filter | None = None


class QuantizationParams(_Request):
    """Taken without effect: there are no other vectors here to rescore with."""

    ignore: bool | None = None
    rescore: bool | None = None
    oversampling: float | None = None


class SearchParams(_Request):
    hnsw_ef: Annotated[int, Meta(ge=1)] | None = None
    exact: bool = False
    quantization: QuantizationParams | None = None


class Nearest(_Request):
    nearest: list[float]


WithPayload: TypeAlias = bool | list[str]
WithVector: TypeAlias = bool | list[str]


class Query(_Request):
    query: list[float] | Nearest
    using: str = ""
    filter: Filter | None = None
    limit: Limit = 10
    offset: Offset = 0
    score_threshold: float | None = None
    params: SearchParams | None = None
    with_payload: WithPayload = False
    with_vector: WithVector = False

    def vector(self) -> list[float]:
        return self.query.nearest if isinstance(self.query, Nearest) else self.query


class QueryBatch(_Request):
    searches: list[Query]


class Scroll(_Request):
    filter: Filter | None = None
    limit: Limit = 10
    offset: PointId | None = None
    with_payload: WithPayload = True
    with_vector: WithVector = False


class Count(_Request):
    filter: Filter | None = None
    exact: bool = True


class Retrieve(_Request):
    ids: list[PointId]
    with_payload: WithPayload = True
    with_vector: WithVector = False


REQUESTS: tuple[type[_Request], ...] = (
    CreateCollection,
    UpdateCollection,
    CreateVectorName,
    CreateIndex,
    Upsert,
    DeletePoints,
    Query,
    QueryBatch,
    Scroll,
    Count,
    Retrieve,
)


# ------------------------------------------------------------------ translation
def edge_filter(spoken: Filter | None) -> edge.Filter | None:
    if spoken is None:
        return None
    return edge.Filter(
        must=_conditions(spoken.must), should=_conditions(spoken.should), must_not=_conditions(spoken.must_not)
    )


def edge_index(params: IndexParams) -> Any:
    on_disk = params.memory == "cold" if params.memory is not None else params.on_disk
    if params.type == "integer":
        return edge.IntegerIndexParams(lookup=params.lookup, range=params.range, on_disk=on_disk)
    if params.type == "keyword":
        return edge.KeywordIndexParams(on_disk=on_disk)
    kinds = {
        "float": edge.PayloadSchemaType.Float,
        "bool": edge.PayloadSchemaType.Bool,
        "datetime": edge.PayloadSchemaType.Datetime,
    }
    return kinds[params.type]


def edge_distance(name: str) -> edge.Distance:
    return {"Cosine": edge.Distance.Cosine, "Dot": edge.Distance.Dot, "Euclid": edge.Distance.Euclid}[name]


def check_limit(limit: int, offset: int = 0) -> None:
    at_most(limit, MAX_LIMIT, "limit")
    at_most(offset, MAX_LIMIT, "offset")


def check_ids(ids: Iterable[PointId]) -> None:
    for each in ids:
        if not 0 <= each < 2**63:
            raise Refused(400, f"Format error in JSON body: value {each} is not a point id between 0 and 2**63")


def check_params(params: SearchParams | None) -> None:
    if params is not None and params.hnsw_ef is not None:
        at_most(params.hnsw_ef, MAX_EF, "hnsw_ef")


def check_filter(spoken: Filter | None) -> None:
    """Raises: Refused for a filter that is nested too deep, or has too many conditions, before it is translated."""
    level: list[Filter | Condition] = [] if spoken is None else [spoken]
    depth, conditions = 0, 0
    while level:
        at_most(depth, MAX_FILTER_DEPTH, "filter depth")
        inner: list[Filter | Condition] = []
        for each in level:
            if isinstance(each, Condition):
                at_most(len(each.has_id or ()), MAX_CONDITION_ITEMS, "has_id")
                check_ids(each.has_id or ())
                compared = [] if each.match is None else [each.match.value, *(each.match.any or ())]
                at_most(len(compared), MAX_CONDITION_ITEMS + 1, "match any")
                if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in compared):
                    raise Refused(400, "Format error in JSON body: a match compares with an integer beyond 64 bits")
            for group in (each.must, each.should, each.must_not):
                inner += group if isinstance(group, list) else [] if group is None else [group]
        conditions += len(inner)
        at_most(conditions, MAX_CONDITIONS, "filter conditions")
        level, depth = inner, depth + 1


def unindexed(spoken: Filter | Condition | None, indexes: Mapping[str, IndexParams]) -> str | None:
    """The first field of a filter without an index that serves it, as a server in strict mode refuses it."""
    if spoken is None:
        return None
    if isinstance(spoken, Condition) and spoken.key is not None:
        index = indexes.get(spoken.key)
        if index is None or (index.type == "integer" and not _serves(index, spoken)):
            return spoken.key
        return None
    for group in (spoken.must, spoken.should, spoken.must_not):
        for condition in group if isinstance(group, list) else [group]:
            if (field := unindexed(condition, indexes)) is not None:
                return field
    return None


def _serves(index: IndexParams, condition: Condition) -> bool:
    wanted = index.lookup if condition.match is not None else index.range
    return wanted is not False


def _conditions(spoken: list[Condition] | Condition | None) -> list[Any] | None:
    if spoken is None:
        return None
    return [_condition(condition) for condition in (spoken if isinstance(spoken, list) else [spoken])]


def _condition(spoken: Condition) -> Any:
    if spoken.key is None:
        if spoken.has_id is not None:
            return edge.HasIdCondition(set(spoken.has_id))
        return edge_filter(Filter(must=spoken.must, should=spoken.should, must_not=spoken.must_not))
    if spoken.match is not None:
        return edge.FieldCondition(spoken.key, match=_match(spoken.match))
    if spoken.range is not None:
        return edge.FieldCondition(spoken.key, range=_range(spoken.range))
    raise Refused(400, f"the condition on {spoken.key!r} has neither match nor range")


def _match(spoken: Match) -> Any:
    if spoken.any is not None:
        texts = [value for value in spoken.any if isinstance(value, str)]
        if texts and len(texts) < len(spoken.any):
            raise Refused(400, "a match of any mixes texts and numbers")
        return edge.MatchAny(texts or [value for value in spoken.any if isinstance(value, int)])
    if spoken.value is None:
        raise Refused(400, "a match needs a value, or any")
    return edge.MatchValue(spoken.value)


def _range(spoken: Range) -> Any:
    bounds = {"gte": spoken.gte, "gt": spoken.gt, "lte": spoken.lte, "lt": spoken.lt}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    texts = {name: bound for name, bound in given.items() if isinstance(bound, str)}
    if texts and len(texts) < len(given):
        raise Refused(400, "a range mixes numbers and times")
    if texts:
        return edge.RangeDateTime(**texts)
    return edge.RangeFloat(**{name: float(bound) for name, bound in given.items()})
