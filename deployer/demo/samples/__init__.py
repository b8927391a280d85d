"""Small models on real data, for the demo and for experiments: trained in seconds, the same on every run.

The data ships inside the scikit-learn wheel. Each function that returns a model is a source for `deployer export`,
for example `deployer.demo.samples:digits_v1`. Only calling one imports scikit-learn and Keras.
"""

from deployer.demo.samples.digits import DIGITS, digits_bad, digits_conv, digits_v1, digits_v2
from deployer.demo.samples.sample import Holdout, Sample, offline_accuracy
from deployer.demo.samples.tumor import TUMOR, tumor_v1, tumor_v2

SAMPLES = {sample.name: sample for sample in (DIGITS, TUMOR)}
"""Every sample by the name of its model."""

__all__ = [
    "DIGITS", "SAMPLES", "TUMOR", "Holdout", "Sample", "digits_bad", "digits_conv", "digits_v1", "digits_v2",
    "offline_accuracy", "tumor_v1", "tumor_v2",
]  # fmt: skip
