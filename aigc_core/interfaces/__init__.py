"""The interfaces that a backend implements, and what the core hands them."""

from aigc_core.interfaces.batch import Batch
from aigc_core.interfaces.engine import Average, Engine
from aigc_core.interfaces.format import Foreign, Format
from aigc_core.interfaces.generator import Generator
from aigc_core.interfaces.metric import FeatureMetric, Features, Figure, Metric
from aigc_core.interfaces.sampler import Block, Sampler
from aigc_core.interfaces.tokenizer import Tokenizer
from aigc_core.interfaces.trainer import Metrics, Trainer

__all__ = [
    "Average",
    "Batch",
    "Block",
    "Engine",
    "FeatureMetric",
    "Features",
    "Figure",
    "Foreign",
    "Format",
    "Generator",
    "Metric",
    "Metrics",
    "Sampler",
    "Tokenizer",
    "Trainer",
]
