"""What is peculiar to this backend; what holds for every backend is in the conformance kit."""

from __future__ import annotations

import aigc_core as aigc


def test_it_is_listed() -> None:
    assert "template/small" in [spec.id for spec in aigc.list_models()]


def test_more_width_is_more_parameters() -> None:
    from aigc_core.registry import default
    from aigc_core.testing.material import BOUNDS, info_of

    model = default().load("template/small")
    info = info_of(model.spec.modality, BOUNDS[model.spec.modality][0])
    small, large = (model.generator(model.config(width=width), info) for width in (16, 64))
    count = [sum(p.numel() for p in generator.parameters()) for generator in (small, large)]
    assert count[0] < count[1]
