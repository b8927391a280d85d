"""The feature spec (`features.yaml`): how records become the input tensor of a version, and its output an answer.

Import-light on purpose (msgspec, PyYAML, stdlib): the deployer checks a spec at export with the code that the gateway
reads it with. Every key is described in docs/reference/features-yaml.md.
"""

from gateway.spec.base import SpecProblem
from gateway.spec.document import Dtype, FeatureSpec, Input, dump_spec, parse_spec, read_spec
from gateway.spec.features import (
    BoolFeature,
    CategoryFeature,
    Clip,
    Currency,
    Feature,
    FloatFeature,
    ImageFeature,
    ImageSize,
    IntFeature,
    MinMax,
    Normalize,
    StringFeature,
    VectorFeature,
)
from gateway.spec.outputs import Binary, Classification, Confidence, Output, Raw, Regression
from gateway.spec.signature import TensorLike, check_signature

__all__ = [
    "Binary", "BoolFeature", "CategoryFeature", "Classification", "Clip", "Confidence", "Currency", "Dtype", "Feature",
    "FeatureSpec", "FloatFeature", "ImageFeature", "ImageSize", "Input", "IntFeature", "MinMax", "Normalize", "Output",
    "Raw", "Regression", "SpecProblem", "StringFeature", "TensorLike", "VectorFeature", "check_signature", "dump_spec",
    "parse_spec", "read_spec",
]  # fmt: skip
