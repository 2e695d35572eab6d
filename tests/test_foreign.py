"""Weights in the forms of other libraries: what the core makes of them, whatever the form."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import SHARED, Run, Site, weights_bytes
from safetensors.torch import load_file, save_file

from aigc_core import registry as registry_module
from aigc_core.errors import BackendError, NotFoundError
from aigc_core.weights.layout import WEIGHTS_FILE
from aigc_core.weights.store import Store

TINY = SHARED / "data" / "tiny-gpt2"

REGISTRATION = """
from aigc_core import FormatSpec, hookimpl

@hookimpl
def aigc_register_formats(registry):
    registry.add(FormatSpec(
        name="{name}", summary="a box", models=("vae/mlp",), format="{name}_parts_backend:{made}",
    ))
"""
PARTS = """
import json
from safetensors.torch import load_file, save_file
from aigc_core.errors import DataError
from aigc_core.interfaces import Foreign, Format
from aigc_core.specs import DataInfo

class Box(Format):
    def recognises(self, folder):
        return (folder / "box.json").is_file()

    def read(self, folder):
        about = json.loads((folder / "box.json").read_text())
        if about.get("lid"):
            raise DataError(f"{folder}: has a lid")
        return Foreign(
            "vae/mlp", about["config"], DataInfo("image", tuple(about["shape"])), load_file(folder / "box.safetensors"),
            folder.name, about.get("license"), ("box.json", "box.safetensors"), ("it was in a box",),
        )

    def write(self, generator, record, folder):
        about = {"config": generator.config.model_dump(mode="json"), "shape": list(generator.data.shape)}
        (folder / "box.json").write_text(json.dumps(about))
        save_file(generator.state_dict(), folder / "box.safetensors")

class NoFormat:
    pass
"""


@pytest.fixture
def boxes(site: Site) -> Site:
    """A backend that knows a form."""
    (site.path / "box_parts_backend.py").write_text(PARTS)
    site.add("box", REGISTRATION.format(name="box", made="Box"))
    return site


@pytest.fixture
def folder(boxes: Site, tmp_path: Path) -> Path:
    """A folder of that form."""
    made = tmp_path / "toy"
    model = registry_module.default().load("vae/mlp")
    from aigc_core.specs import DataInfo

    torch.manual_seed(0)
    generator = model.generator(model.config(hidden=(8,), latent=3), DataInfo("image", (1, 8, 8)))
    made.mkdir()
    about = {"config": generator.config.model_dump(mode="json"), "shape": [1, 8, 8]}
    (made / "box.json").write_text(json.dumps(about))
    save_file(generator.state_dict(), made / "box.safetensors")
    return made


def describe(folder: Path, **more: object) -> None:
    about = json.loads((folder / "box.json").read_text())
    (folder / "box.json").write_text(json.dumps({**about, **more}))


def test_a_folder_becomes_a_version_with_a_golden_sample_and_goes_back(
    folder: Path, aigc: Run, tmp_path: Path
) -> None:
    taken = aigc("weights", "import", folder, "--name", "mine", "--alias", "first")
    assert taken.code == 0, taken.err
    assert "kept mine@1, which is mine@first" in taken.out
    assert "aigc: it was in a box" in taken.err
    version = Store().version("mine")
    assert version.manifest.golden is not None
    record = version.manifest.record
    assert record["data"]["name"] == "toy"
    assert record["license"] == "unknown"
    assert record["training"] == {
        "steps": 0, "seed": 0, "options": {}, "metrics": {}, "parents": [], "imported": "box",
    }  # fmt: skip
    assert aigc("weights", "verify", "mine").code == 0

    written = aigc("weights", "export", "mine", tmp_path / "there" / "box", "--format", "box")
    assert written.code == 0, written.err
    assert f"mine@1 is in {tmp_path / 'there' / 'box'}, in the form of box" in written.out
    before, after = (load_file(f / "box.safetensors") for f in (folder, tmp_path / "there" / "box"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    assert (
        aigc("weights", "import", tmp_path / "there" / "box", "--name", "again", "--format", "box").code == 0
    )
    assert Store().version("again").manifest.tensors_digest == version.manifest.tensors_digest


def test_every_page_says_that_it_was_imported(folder: Path, aigc: Run, tmp_path: Path) -> None:
    describe(folder, license="cc0-1.0")
    assert aigc("weights", "import", folder).code == 0
    for page in (["weights", "show", "toy"], ["inspect", "toy"]):
        shown = aigc(*page)
        assert shown.code == 0, shown.err
        assert "elsewhere; imported from the form of box" in shown.out
        assert "0 items" not in shown.out
        assert "0 steps" not in shown.out
        assert "cc0-1.0" in shown.out
    assert aigc("sample", "toy", "-n", 1, "--out", tmp_path / "one.png", "--quiet").code == 0
    assert "imported from the form of box" in aigc("trace", tmp_path / "one.png").out
    assert "toy@1" in aigc("weights", "list").out
    again = aigc("weights", "retrain", "toy")
    assert again.code == 2
    assert "toy@1 was imported, not trained here" in again.error


def test_the_same_folder_gives_the_same_version(folder: Path, aigc: Run) -> None:
    for _ in range(2):
        assert aigc("weights", "import", folder, "--name", "mine").code == 0
    first, second = Store().versions("mine")
    assert first.manifest.digest == second.manifest.digest
    describe(folder, comment="another")
    assert aigc("weights", "import", folder, "--name", "mine").code == 0
    third = Store().version("mine").manifest.record
    assert third["tensors_digest"] == first.manifest.tensors_digest
    assert third["data"]["digest"] != first.manifest.record["data"]["digest"]


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        ("missing", 6, "does not fit vae/mlp: {name} is missing"),
        ("more", 6, "does not fit vae/mlp: it has no stranger"),
        ("shape", 6, "{name} is 5, not "),
        ("type", 4, "{name} was read as torch.float16, not torch.float32"),
        ("config", 2, "model 'vae/mlp' has no option 'hiden'"),
        ("lid", 6, "has a lid"),
        ("json", 4, "backend 'box' (aigc-box 1.0) failed to read"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_kept(
    folder: Path, aigc: Run, spoil: str, code: int, said: str
) -> None:
    tensors = load_file(folder / "box.safetensors")
    name = sorted(tensors)[0]
    if spoil == "missing":
        del tensors[name]
    elif spoil == "more":
        tensors["stranger"] = torch.ones(1)
    elif spoil == "shape":
        tensors[name] = torch.ones(5)
    elif spoil == "type":
        tensors[name] = tensors[name].half()
    elif spoil == "config":
        describe(folder, config={"hiden": [8]})
    elif spoil == "lid":
        describe(folder, lid=True)
    else:
        (folder / "box.json").write_text("{")
    save_file(tensors, folder / "box.safetensors")
    refused = aigc("weights", "import", folder, "--name", "mine")
    assert refused.code == code
    assert said.format(name=name) in refused.error
    assert not Store().names()


def test_a_folder_of_no_form_is_refused_with_the_forms_that_there_are(
    boxes: Site, aigc: Run, tmp_path: Path
) -> None:
    (tmp_path / "some").mkdir()
    refused = aigc("weights", "import", tmp_path / "some")
    assert refused.code == 3
    assert "has no manifest.json" in refused.error
    assert "these are: box, huggingface" in refused.error
    assert "did you mean 'box'?" in aigc("weights", "import", tmp_path / "some", "--format", "bux").error
    file = aigc("weights", "import", tmp_path / "site" / "box_parts_backend.py", "--format", "box")
    assert "is a file; --format is of folders" in file.error


def test_a_folder_of_two_forms_asks_which(folder: Path, boxes: Site, aigc: Run) -> None:
    (boxes.path / "crate_parts_backend.py").write_text(PARTS)
    boxes.add("crate", REGISTRATION.format(name="crate", made="Box"))
    registry_module.discovered.cache_clear()
    asked = aigc("weights", "import", folder)
    assert asked.code == 2
    assert "may be of the form box or crate: say which by --format" in asked.error
    assert aigc("weights", "import", folder, "--format", "crate").code == 0


def test_a_form_that_is_no_format_is_the_backends_failure(site: Site, tmp_path: Path) -> None:
    (site.path / "box_parts_backend.py").write_text(PARTS)
    site.add("box", REGISTRATION.format(name="box", made="NoFormat"))
    registry = registry_module.default()
    with pytest.raises(
        BackendError, match=r"box_parts_backend:NoFormat of format 'box' is no aigc_core.interfaces"
    ):
        registry.format("box")
    with pytest.raises(NotFoundError, match=r"no format 'bx'; did you mean 'box'?"):
        registry.format("bx")


def test_two_backends_do_not_share_a_forms_name(boxes: Site, aigc: Run) -> None:
    (boxes.path / "zed_parts_backend.py").write_text(PARTS)
    code = REGISTRATION.format(name="box", made="Box").replace("box_parts_backend", "zed_parts_backend")
    boxes.add("zed", code)
    registry_module.discovered.cache_clear()
    listed = aigc("plugins", "list")
    assert "format 'box' is registered already" in listed.out
    assert registry_module.default().format_backends["box"].name == "box"


def test_a_model_that_the_form_can_not_hold_is_refused_by_name(
    folder: Path, aigc: Run, tmp_path: Path
) -> None:
    assert aigc("weights", "import", folder, "--name", "mine").code == 0
    refused = aigc("weights", "export", "mine", tmp_path / "out", "--format", "huggingface")
    assert refused.code == 2
    assert "mine@1 is of vae/mlp, which format 'huggingface' can't hold; it holds: text/gpt" in refused.error
    assert not (tmp_path / "out").exists()
    Store().publish("tiny", {WEIGHTS_FILE: weights_bytes(1)})
    assert aigc("weights", "export", "tiny", tmp_path / "out", "--format", "box").code == 4


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 2,000 bytes: a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["box", "huggingface"])
def test_an_export_that_fails_leaves_nothing(
    folder: Path, aigc: Run, tmp_path: Path, small_files: None, form: str
) -> None:
    if form == "huggingface":
        if not TINY.is_dir():
            pytest.skip("no tiny-gpt2 beside the checkout")
        folder = TINY
    assert aigc("weights", "import", folder, "--name", "mine").code == 0
    place = tmp_path / "place"
    place.mkdir()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    refused = aigc("weights", "export", "mine", place / "out", "--format", form)
    assert refused.code == (8 if form == "huggingface" else 4), refused.err
    assert not list(place.iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(folder: Path, aigc: Run, tmp_path: Path) -> None:
    assert aigc("weights", "import", folder, "--name", "mine").code == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    refused = aigc("weights", "export", "mine", tmp_path / "out", "--format", "box")
    assert refused.code == 2
    assert "is there already, and not empty" in refused.error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]
    nowhere = aigc("weights", "export", "mine", "/proc/self/out", "--format", "box")
    assert nowhere.code == 8
    (tmp_path / "empty").mkdir()
    assert aigc("weights", "export", "mine", tmp_path / "empty", "--format", "box").code == 0


@pytest.mark.skipif(not TINY.is_dir(), reason="no tiny-gpt2 beside the checkout")
def test_a_folder_of_transformers_goes_in_and_out(aigc: Run, tmp_path: Path) -> None:
    taken = aigc("weights", "import", TINY)
    assert taken.code == 0, taken.err
    assert "kept tiny-gpt2@1" in taken.out
    assert aigc("weights", "export", "tiny-gpt2", tmp_path / "out", "--format", "huggingface").code == 0
    assert aigc("weights", "import", tmp_path / "out", "--name", "again").code == 0
    assert json.loads(aigc("weights", "diff", "tiny-gpt2", "again", "--json").out)["tensors"] == {}
    one, two = (Store().version(name).manifest for name in ("tiny-gpt2", "again"))
    assert one.tensors_digest == two.tensors_digest
