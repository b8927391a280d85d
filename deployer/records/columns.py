"""What feature specs say of the columns of a table of records."""

from __future__ import annotations

from collections.abc import Iterable

from deployer.records.rows import Columns
from gateway.spec import (
    CategoryFeature,
    CrossFeature,
    FeatureSpec,
    FloatFeature,
    ImageFeature,
    StringFeature,
    TimestampFeature,
    VectorFeature,
)

WORDS = CategoryFeature | StringFeature | ImageFeature | CrossFeature


def table_columns(specs: Iterable[FeatureSpec]) -> Columns:
    """Columns of a CSV file that hold text even where it looks like a number, and those that are joined."""
    features = [feature for spec in specs for feature in spec.features]
    text = {key for f in features if isinstance(f, WORDS) for key in f.keys}
    text |= {key for f in features if isinstance(f, TimestampFeature) and f.format == "rfc3339" for key in f.keys}
    text |= {f.currency.field for f in features if isinstance(f, FloatFeature) and f.currency is not None}
    return Columns(text=frozenset(text), vectors={f.key: f.length for f in features if isinstance(f, VectorFeature)})
