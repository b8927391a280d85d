"""The feature spec (`features.yaml`): how records become the input tensors of a version, and its output a response.

Import-light on purpose (msgspec, PyYAML, stdlib): the deployer checks a spec at export with the code that the gateway
reads it with. Every key is described in docs/reference/features-yaml.md.
"""

from gateway.spec.base import SpecProblem
from gateway.spec.code import CodeFeature
from gateway.spec.document import Dtype, FeatureSpec, Input, NamedInput, Tensor, dump_spec, parse_spec, read_spec
from gateway.spec.features import Feature
from gateway.spec.images import ImageFeature, ImageSize
from gateway.spec.lists import CategoryItems, ListFeature, NumberItems
from gateway.spec.lookup import Lookup
from gateway.spec.numbers import (
    Bucketize,
    Clip,
    Currency,
    DifferenceFeature,
    FloatFeature,
    IntFeature,
    MinMax,
    Normalize,
    RatioFeature,
    Transformed,
    VectorFeature,
)
from gateway.spec.outputs import Binary, Classification, CodeOutput, Confidence, Output, Raw, Regression
from gateway.spec.signature import TensorLike, check_signature
from gateway.spec.statistics import Distribution, Statistics
from gateway.spec.timestamps import TimestampFeature
from gateway.spec.words import BoolFeature, CategoryFeature, CrossFeature, StringFeature, Text, Vocabulary

__all__ = [
    "Binary", "BoolFeature", "Bucketize", "CategoryFeature", "CategoryItems", "Classification", "Clip", "CodeFeature",
    "CodeOutput", "Confidence", "CrossFeature", "Currency", "DifferenceFeature", "Distribution", "Dtype", "Feature",
    "FeatureSpec", "FloatFeature", "ImageFeature", "ImageSize", "Input", "IntFeature", "ListFeature", "Lookup",
    "MinMax", "NamedInput", "Normalize", "NumberItems", "Output", "RatioFeature", "Raw", "Regression", "SpecProblem",
    "Statistics", "StringFeature", "Tensor", "TensorLike", "Text", "TimestampFeature", "Transformed", "VectorFeature",
    "Vocabulary", "check_signature", "dump_spec", "parse_spec", "read_spec",
]  # fmt: skip
