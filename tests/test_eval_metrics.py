"""Metrics of features: they agree with other people's code and with the papers' formulas, and behave as they must."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from aigc_core.evaluation.metrics.classes import Classes
from aigc_core.evaluation.metrics.frechet import Frechet
from aigc_core.evaluation.metrics.kernel import Kernel
from aigc_core.evaluation.metrics.neighbours import DensityCoverage, PrecisionRecall
from aigc_core.interfaces import Features

Values = npt.NDArray[np.float32]
ALL: dict[str, Callable[[], object]] = {
    "fid": Frechet, "kid": Kernel, "precision-recall": PrecisionRecall, "density-coverage": DensityCoverage,
}  # fmt: skip


def blob(count: int, width: int = 16, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> Values:
    """Features as a network's: correlated, none below zero."""
    mix = np.random.default_rng(99).standard_normal((width, width))
    drawn = np.random.default_rng(seed).standard_normal((count, width)) * scale @ mix + shift + 1
    return np.maximum(drawn, 0).astype(np.float32)


def figures(metric: object, real: Values, fake: Values, seed: int = 0) -> dict[str, float]:
    found = metric.compare(Features(real), Features(fake), seed=seed)  # type: ignore[attr-defined]
    for figure in found.values():
        low, high = figure.interval
        assert low <= figure.value <= high
    return {name: figure.value for name, figure in found.items()}


@pytest.mark.parametrize(("count", "width"), [(600, 16), (3000, 64)])
def test_the_frechet_distance_is_that_of_torch_fidelity(count: int, width: int) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    real, fake = blob(count, width), blob(count - 100, width, seed=1, shift=0.2)
    there = [fid_features_to_statistics(torch.from_numpy(v.astype(np.float64))) for v in (real, fake)]
    expected = fid_statistics_to_metric(*there, verbose=False)["frechet_inception_distance"]
    assert figures(Frechet(), real, fake)["fid"] == pytest.approx(expected, rel=1e-6)


def test_the_kernel_distance_is_that_of_torch_fidelity() -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, fake = blob(1100), blob(1050, seed=1, shift=0.1)
    expected = kid_features_to_metric(
        *(torch.from_numpy(v.astype(np.float64)) for v in (real, fake)),
        kid_subsets=100, kid_subset_size=1000, kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1, rng_seed=2020, verbose=False,
    )["kernel_inception_distance_mean"]  # fmt: skip
    assert figures(Kernel(), real, fake, seed=2020)["kid"] == pytest.approx(expected, rel=1e-6)


def test_neighbours_are_those_of_the_papers_formulas() -> None:
    """Precision and recall by Kynkäänniemi et al., section 3.1; density and coverage by Naeem et al., equations 5-7."""
    real, fake = blob(90, 6), blob(70, 6, seed=1, shift=0.3)

    def reach(items: Values, k: int) -> list[float]:
        return [
            sorted(float(np.linalg.norm(a - b)) for b in items)[k] for a in items
        ]  # [0] is the item itself

    def inside(point: Values, items: Values, radii: list[float]) -> list[bool]:
        return [float(np.linalg.norm(point - a)) <= r for a, r in zip(items, radii, strict=True)]

    of_real, of_fake, wide = reach(real, 3), reach(fake, 3), reach(real, 5)
    assert figures(PrecisionRecall(), real, fake) == pytest.approx(
        {
            "precision": np.mean([any(inside(f, real, of_real)) for f in fake]),
            "recall": np.mean([any(inside(r, fake, of_fake)) for r in real]),
        }
    )
    held = np.array([inside(f, real, wide) for f in fake])
    assert figures(DensityCoverage(), real, fake) == pytest.approx(
        {"density": held.sum() / (5 * len(fake)), "coverage": held.any(axis=0).mean()}
    )


@pytest.mark.parametrize("name", ALL)
def test_more_noise_is_farther_away(name: str) -> None:
    real = blob(800)
    noise = np.random.default_rng(5).standard_normal((800, 16)).astype(np.float32)
    levels = [figures(ALL[name](), real, blob(800, seed=1) + level * noise) for level in (0, 1, 2, 4)]
    falls = name not in ("fid", "kid")
    for figure in levels[0]:
        if figure == "recall":  # samples that are noise claim large balls, which real items fall into
            continue
        values = [found[figure] for found in levels]
        assert values == sorted(values, reverse=falls), figure
        assert values[0] != values[-1]


def test_real_items_against_others_are_near_what_is_perfect() -> None:
    one, other = blob(2000), blob(2000, seed=1)
    far = figures(Frechet(), one, blob(2000, seed=1, shift=5.0))["fid"]
    found = Frechet().compare(Features(one), Features(other), seed=0)["fid"]
    assert 0 <= found.value < far / 100
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] < far / 50
    assert figures(Frechet(), one, one)["fid"] == pytest.approx(0, abs=far * 1e-6)
    kid = Kernel().compare(Features(one), Features(other), seed=0)["kid"]
    assert kid.interval is not None
    assert kid.interval[0] < 0 < kid.interval[1]
    assert figures(PrecisionRecall(), one, one) == {"precision": 1.0, "recall": 1.0}
    alike = figures(DensityCoverage(), one, other)
    assert 0.9 < alike["density"] < 1.1
    assert alike["coverage"] > 0.9


def test_intervals_hold_what_other_draws_of_items_give() -> None:
    """Of the figures of thirty pairs of other items, most lie in the interval of the first, and it is not far wider."""
    for metric, figure in ((Frechet(), "fid"), (Kernel(), "kid"), (PrecisionRecall(), "precision")):
        made = [
            metric.compare(Features(blob(300, seed=2 * i)), Features(blob(300, seed=2 * i + 1, shift=0.5)), seed=0)[figure]
            for i in range(30)
        ]  # fmt: skip
        values = np.array([one.value for one in made])
        wide = np.mean([one.interval[1] - one.interval[0] for one in made if one.interval])
        assert 0.5 < wide / (2 * 1.96 * values.std(ddof=1)) < 2, figure


@pytest.mark.parametrize("name", ["fid", "precision-recall", "density-coverage"])
def test_the_order_of_items_does_not_matter(name: str) -> None:
    real, fake = blob(500), blob(400, seed=1, shift=0.2)
    turned = figures(ALL[name](), real[::-1], np.random.default_rng(0).permutation(fake))
    assert turned == pytest.approx(figures(ALL[name](), real, fake), rel=1e-9)


def test_the_order_of_items_moves_the_kernel_distance_by_its_subsets_alone() -> None:
    real, fake = blob(500), blob(500, seed=1, shift=0.2)
    assert figures(Kernel(), real[::-1], fake[::-1])["kid"] == pytest.approx(
        figures(Kernel(), real, fake)["kid"], rel=1e-9
    ), "one subset holds them all"


def test_too_few_items_for_neighbours_tell_nothing_and_the_rest_is_finite() -> None:
    few = blob(3)
    assert PrecisionRecall().compare(Features(few), Features(blob(9)), seed=0) == {}
    assert DensityCoverage().compare(Features(blob(9)), Features(few), seed=0) == {}
    for metric in (Frechet(), Kernel()):
        (figure,) = metric.compare(Features(blob(2)), Features(blob(2, seed=1)), seed=0).values()
        assert np.isfinite([figure.value, *(figure.interval or ())]).all()


def test_samples_that_are_all_the_same_are_judged() -> None:
    real, fake = blob(200), np.repeat(blob(1, seed=1), 200, axis=0)
    for metric in (Frechet, Kernel, PrecisionRecall, DensityCoverage):
        assert np.isfinite(list(figures(metric(), real, fake).values())).all()
    assert figures(PrecisionRecall(), real, fake)["recall"] < 0.05


def sure_of(classes: npt.NDArray[np.int64], number: int = 10) -> Values:
    """[N, number] probabilities of a classifier that is right and sure."""
    found = np.full((len(classes), number), 0.01 / (number - 1), np.float32)
    found[np.arange(len(classes)), classes] = 0.99
    return found


def test_a_class_that_is_missing_lowers_coverage() -> None:
    real = Features(blob(1000), sure_of(np.arange(1000) % 10))
    all_there = Classes().compare(real, real, seed=0)
    assert all_there["class-coverage"].value == 1
    assert all_there["class-kl"].value == pytest.approx(0, abs=1e-6)
    assert all_there["confidence"].value == pytest.approx(0.99)
    assert "accuracy" not in all_there
    eight = Features(blob(1000), sure_of(np.arange(1000) % 8))
    found = Classes().compare(real, eight, seed=0)
    assert found["class-coverage"].value == pytest.approx(0.8)
    assert found["class-kl"].value == pytest.approx(np.log(10 / 8), abs=1e-6)
    low, high = found["class-kl"].interval or (0, 0)
    assert low < found["class-kl"].value < high


def test_asked_classes_are_counted() -> None:
    real = Features(blob(100), sure_of(np.arange(100) % 10))
    asked = np.arange(100) % 10
    asked[:25] = 3
    found = Classes().compare(real, Features(blob(100), real.probabilities, asked), seed=0)["accuracy"]
    right = float((asked == np.arange(100) % 10).mean())
    assert found.value == pytest.approx(right)
    low, high = found.interval or (0, 0)
    assert right - 0.15 < low < right < high < right + 0.15


def test_without_a_classifier_of_the_data_nothing_is_said_of_classes() -> None:
    assert Classes().compare(Features(blob(9)), Features(blob(9)), seed=0) == {}


def test_the_same_seed_gives_the_same_intervals() -> None:
    real, fake = Features(blob(200)), Features(blob(200, seed=1))
    for metric in (Frechet(), Kernel(), PrecisionRecall(), DensityCoverage()):
        assert metric.compare(real, fake, seed=3) == metric.compare(real, fake, seed=3)
