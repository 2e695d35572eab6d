"""A whole backend in one file: a small VAE for pictures, `tiny/vae`."""

from aigc_core import DataNeeds, ModelSpec, Output, SamplerSpec, hookimpl


@hookimpl
def aigc_register_models(registry):  # called for every listing, so nothing heavy is imported up here
    prior = SamplerSpec(sampler="aigc_tiny:Prior", config="aigc_core.options:Options", summary="prior")
    spec = ModelSpec(
        id="tiny/vae",  # family/name; the family is the entry point's name
        summary="A small VAE for pictures",
        modality="image",
        license="MIT",
        generator="aigc_tiny:Tiny",
        config="aigc_tiny:TinyConfig",
        trainer="aigc_tiny:TinyTrainer",
        data=DataNeeds(modality="image", smallest=(1, 8, 8), largest=(3, 64, 64)),
        samplers={"prior": prior},  # the first one is the default
    )
    registry.add(spec)


def _options():
    from aigc_core.options import Field, Options

    class TinyConfig(Options):  # `aigc train -o width=512`
        width: int = Field(256, ge=8, le=8192, description="size of the hidden layers")

    return locals()


def _networks():
    from torch import nn, optim

    from aigc_core.interfaces import Generator, Sampler, Trainer

    class Tiny(Generator):
        def __init__(self, config, data):  # all that it may be built from: both are kept in the weights file
            super().__init__(config, data)
            size, width = data.shape[0] * data.shape[1] * data.shape[2], config.width
            self.encoder = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, 32))
            self.decoder = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, size))

        @property
        def output(self):  # what samples are, and what batches look like: pictures in 0..1
            return Output("image", self.data.shape, 0.0, 1.0)

        def forward(self, x, noise):
            mean, log_variance = self.encoder(x.flatten(1)).float().chunk(2, dim=1)
            logits = self.decoder(mean + noise * (0.5 * log_variance).exp()).float()
            kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
            return (nn.BCEWithLogitsLoss(reduction="sum")(logits, x.flatten(1)) + kl) / len(x)

    class TinyTrainer(Trainer):
        def __init__(self, generator, options, engine):  # what has a state here is in every checkpoint
            super().__init__(generator, options, engine)
            self.network = engine.prepare(generator)
            self.optimizer = engine.optimizer(optim.Adam(self.network.parameters(), 5 * options.lr))

        def step(self, batch):
            with self.engine.autocast():
                loss = self.network(batch.x, self.engine.randn(len(batch), 16))
            self.optimizer.zero_grad()
            self.engine.backward(loss)
            self.optimizer.step()
            return {"loss": loss.detach()}

    class Prior(Sampler):
        def sample(self, generator, block):  # all randomness from the block: sample i is always the same
            return generator.decoder(block.randn(16)).sigmoid().view(-1, *generator.data.shape)

    return locals()


def __getattr__(name):  # PEP 562: the classes are made when they are first asked for
    for define in (_options, _networks):
        if name in define.__code__.co_varnames:
            return globals().setdefault(name, define()[name])
    raise AttributeError(name)
