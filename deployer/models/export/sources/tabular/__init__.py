"""Models on rows of numbers, from XGBoost, LightGBM and scikit-learn: each library's trees and weights become a graph.

`forest` and `head` know no library; a module per library reads its files into them.
"""

from deployer.models.export.sources.tabular.source import SUFFIXES, load

__all__ = ["SUFFIXES", "load"]
