"""The features of a record, one struct per type, so that a key that a type does not have is an unknown key."""

from __future__ import annotations

from gateway.spec.code import CodeFeature
from gateway.spec.images import ImageFeature
from gateway.spec.lists import ListFeature
from gateway.spec.numbers import DifferenceFeature, FloatFeature, IntFeature, RatioFeature, VectorFeature
from gateway.spec.timestamps import TimestampFeature
from gateway.spec.words import BoolFeature, CategoryFeature, CrossFeature, StringFeature

Feature = (
    FloatFeature
    | IntFeature
    | BoolFeature
    | CategoryFeature
    | StringFeature
    | VectorFeature
    | ImageFeature
    | TimestampFeature
    | ListFeature
    | CrossFeature
    | RatioFeature
    | DifferenceFeature
    | CodeFeature
)
