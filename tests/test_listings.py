"""What the listings show, to people and to scripts."""

from __future__ import annotations

import json

import pytest
from helpers import Run, Site

from aigc_core import registry as registry_module


def test_models_can_be_filtered(aigc: Run) -> None:
    def ids(*arguments: str) -> list[str]:
        return [row["id"] for row in json.loads(aigc("models", "list", *arguments, "--json").out)]

    sounds = ["audio/tacotron", "audio/vae", "audio/vae-raw", "audio/vocoder"]
    gans = ["gan/conditional", "gan/dcgan", "gan/mlp", "gan/resnet"]
    vaes = ["vae/conditional", "vae/conv", "vae/mlp", "vae/rae", "vae/vq"]
    diffusion = ["diffusion/dit", "diffusion/unet"]
    pictures = diffusion + gans + vaes
    assert ids() == [*sounds, *diffusion, *gans, "text/gpt", "text/lstm", *vaes]
    assert ids("--can", "interpolate") == pictures[:-1]
    assert ids("--can", "top-by-critic", "--can", "prior") == gans
    assert ids("--modality", "image") == pictures
    assert ids("--modality", "text") == ["text/gpt", "text/lstm"]
    assert ids("--modality", "audio") == sounds
    assert ids("--modality", "sound") == []
    assert "no model matches" in aigc("models", "--can", "fly").err


def test_a_models_page_tells_all_its_options(aigc: Run) -> None:
    text = aigc("models", "show", "gan/dcgan").out
    for part in (
        "aigc-gan 0.1.0",
        "arXiv",
        "image from 1x8x8 to 4x256x256",
        "critic_lr",
        "hinge | nonsaturating | lsgan | wgan",
        "NFE 1",
    ):
        assert part in text, part
    shown = json.loads(aigc("models", "show", "vae/conv", "--json").out)
    assert shown["samplers"]["reconstruct"]["needs"] == ["image"]
    assert {"batch_size", "lr", "epochs", "warmup"} < {o["name"] for o in shown["options"]["training"]}
    assert shown["schemas"]["model"]["properties"]["latent"]["minimum"] == 1
    short = aigc("models", "show", "dcgan").out
    assert short == text


@pytest.mark.parametrize(
    "model", [*(f"diffusion/{n}" for n in ("dit", "unet")),
              *(f"gan/{n}" for n in ("conditional", "dcgan", "mlp", "resnet")),
              *(f"vae/{n}" for n in ("conditional", "conv", "mlp", "rae", "vq"))]
)  # fmt: skip
def test_the_stated_number_of_parameters_is_true(
    model: str, aigc: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from aigc_core.specs import DataInfo

    loaded = registry_module.default().load(model)
    generator = loaded.generator(loaded.config(), DataInfo("image", (1, 28, 28), tuple("0123456789")))
    count = sum(p.numel() for p in generator.parameters())
    assert loaded.spec.params == f"{count / 1e6:.1f} M at 1x28x28"


def test_a_deprecated_model_names_its_heir_and_comes_last(site: Site, aigc: Run) -> None:
    site.add(
        "old",
        "from aigc_core import DataNeeds, ModelSpec, hookimpl\n@hookimpl\ndef aigc_register_models(registry):\n"
        "    for n, r in (('a2', None), ('a10', None), ('a1', 'old/a2')):\n"
        "        registry.add(ModelSpec(id='old/' + n, summary='s', modality='image', license='MIT',\n"
        "            generator='aigc_core.interfaces:Generator', config='aigc_core.options:Options',\n"
        "            data=DataNeeds(modality='image'), replaced_by=r, aliases=('alias-' + n,)))\n",
    )
    lines = aigc("models").out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("old/")] == ["old/a2", "old/a10", "old/a1"]
    assert "(use old/a2)" in lines[-1]
    assert registry_module.default().find("alias-a10").id == "old/a10"


def test_a_backends_data_set_is_used_like_any_other(site: Site, aigc: Run) -> None:
    (site.path / "striped_data.py").write_text(
        "import numpy as np\nfrom aigc_core.data import ArrayImages\n"
        "def load(split):\n"
        "    pixels = np.zeros((20, 1, 8, 8), np.uint8)\n    pixels[:, :, ::2] = 255\n"
        "    return ArrayImages(pixels, name='stripes', split=split)\n"
        "def wrong(split):\n    return 3\n"
    )
    site.add(
        "stripes",
        "from aigc_core import DatasetSpec, hookimpl\n@hookimpl\ndef aigc_register_datasets(registry):\n"
        "    for name in ('load', 'wrong'):\n"
        "        registry.add(DatasetSpec(name='stripes-' + name, summary='Stripes', modality='image', license='CC0-1.0',\n"
        "            source='striped_data:' + name, splits=('all',)))\n",
    )
    assert "stripes-load" in aigc("data", "list").out
    done = aigc("train", "vae/mlp", "--data", "stripes-load", "--steps", "2", "--name", "stripes")
    assert done.code == 0, done.err
    wrong = aigc("train", "vae/mlp", "--data", "stripes-wrong")
    assert wrong.code == 4
    assert "did not return an aigc_core.data.Dataset" in wrong.error


def test_weights_are_listed_and_inspected(aigc: Run) -> None:
    assert "no weights are kept yet" in aigc("weights").err
    aigc("train", "vae/mlp", "--data", "digits", "--steps", "2", "--name", "one")
    assert "one@1" in aigc("weights").out
    text = aigc("inspect", "one", "--verify").out
    for part in (
        "vae/mlp",
        "aigc-vae 0.1.0",
        "image 1x8x8",
        "digits (train, 1797 items",
        "2 steps, seed 0",
        "(verified)",
    ):
        assert part in text, part
    shown = json.loads(aigc("inspect", "one@1", "--json").out)
    from aigc_core import load

    assert shown["parameters"] == sum(p.numel() for p in load("one").generator.parameters())
