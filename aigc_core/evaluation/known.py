"""The core's own metrics; registration is data only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aigc_core.specs import MetricSpec

if TYPE_CHECKING:
    from aigc_core.backends import Registrar

METRICS = (
    ("fid", "frechet:Frechet", True, "Fréchet distance between normal distributions fitted to features"),
    ("kid", "kernel:Kernel", True, "squared maximum mean discrepancy of features under a cubic kernel"),
    ("precision-recall", "neighbours:PrecisionRecall", False, "share of samples near data, and of data near samples"),
    ("density-coverage", "neighbours:DensityCoverage", False, "the same two questions, robust against outliers"),
    ("classes", "classes:Classes", False, "which classes the samples are of, by a classifier of the data"),
)  # fmt: skip
"""Name, class, whether lower is better, and a line on each."""


def register(registrar: Registrar) -> None:
    """Metrics of pictures, which compare the features of samples with those of data."""
    for name, path, lower, summary in METRICS:
        registrar.add(
            MetricSpec(
                name=name,
                summary=summary,
                modality="image",
                metric=f"aigc_core.evaluation.metrics.{path}",
                lower_is_better=lower,
            )
        )
