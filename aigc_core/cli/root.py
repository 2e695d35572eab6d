"""`aigc` itself."""

from __future__ import annotations

import click

from aigc_core._version import __version__
from aigc_core.cli.groups import LazyGroup

COMMANDS = {
    "models": ("aigc_core.cli.models:models", "List the models, or show one with all its options."),
    "plugins": ("aigc_core.cli.plugins:plugins", "Install backends, examine them, write them."),
    "data": ("aigc_core.cli.data:data", "List the known data sets, or show any."),
    "train": ("aigc_core.cli.train:train", "Train a model on data and keep its weights."),
    "runs": ("aigc_core.cli.runs:runs", "List the trainings, show one, go on with it, remove it."),
    "sample": ("aigc_core.cli.sample:sample", "Draw samples from weights."),
    "eval": ("aigc_core.cli.eval:evaluate", "Judge weights by data that they were not fitted on."),
    "bench": ("aigc_core.cli.bench:bench", "Train models for the same time each, judge them, write a table."),
    "weights": ("aigc_core.cli.weights:weights", "List the weights that were kept."),
    "inspect": ("aigc_core.cli.inspect:inspect", "Show what a weights file or a sample says of itself."),
    "trace": ("aigc_core.cli.trace:trace", "Lead a sample back to the weights, data and run that made it."),
    "replay": ("aigc_core.cli.replay:replay", "Make a sample again and say whether it is the same."),
    "demo": ("aigc_core.cli.demo:demo", "Train two models on small digits and draw a picture of it all."),
}


class Root(LazyGroup):
    """The core's commands, and a group for each backend that adds commands of its own.

    Core commands come first and import no backend; a backend can't replace them.
    """

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.lazy:
            return super().get_command(ctx, name)
        return self._backend_group(name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        from aigc_core.registry import discovered

        return [*self.lazy, *(n for n in sorted(discovered().commands) if n not in self.lazy)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_commands(ctx, formatter)
        added = [(n, f"Commands of backend {n!r}.") for n in self.list_commands(ctx) if n not in self.lazy]
        if added:
            with formatter.section("Commands of backends"):
                formatter.write_dl(added)

    def _backend_group(self, name: str) -> click.Command | None:
        from aigc_core.registry import discovered

        registry = discovered()
        if name not in registry.commands:
            return None
        specs = registry.commands[name]
        group = LazyGroup(
            name,
            lazy={s.name: (s.command, s.summary) for s in specs.values()},
            backend=registry.backends[name],
        )
        group.help = f"Commands of backend {name!r}."
        return group


@click.command(
    cls=Root,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="aigc", message="%(prog)s %(version)s")
def cli() -> None:
    """Generative models as plugins: list, train, sample, inspect.

    Models come from backends, which are installed apart (see: aigc plugins list). AIGC_HOME says where
    weights and runs are kept, AIGC_DATA where data sets are looked for.
    """
