"""`aigc sample`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from aigc_core.cli.common import KeyValue, WeightsName, note, open_registry
from aigc_core.errors import DataError, NotFoundError, UsageError
from aigc_core.launch import launched
from aigc_core.modality import default_ending
from aigc_core.registry import default

if TYPE_CHECKING:
    from aigc_core.sampling.stream import Chunk


@click.command()
@click.argument("weights", type=WeightsName())
@click.option(
    "-n",
    "count",
    type=int,
    help="How many; by default 64, or one for each --image, --sound, --prompt or --label.",
)
@click.option("--start", type=int, default=0, show_default=True, help="The index of the first one.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Sample i of a seed is always the same one."
)
@click.option("--sampler", help="One of the model's samplers; by default its first.")
@click.option(
    "-s", "--sampler-option", "options", type=KeyValue(), multiple=True, help="An option of the sampler."
)
@click.option("--image", "images", multiple=True, help="A picture to work on; may be given many times.")
@click.option(
    "--mask",
    "masks",
    multiple=True,
    help="White where a picture is to be filled in; may be given many times.",
)
@click.option("--sound", "sounds", multiple=True, help="A sound to work on; may be given many times.")
@click.option(
    "--prompt", "prompts", multiple=True, help="A text to go on from, or to speak; may be given many times."
)
@click.option(
    "--prompts-from",
    metavar="FILE",
    type=click.Path(),
    help="A file with a prompt a line; - for standard input.",
)
@click.option(
    "--label", "labels", multiple=True, help="A class, by its name or number; may be given many times."
)
@click.option(
    "--speaker", "speakers", multiple=True, help="Whose voice it is; may be given many times: -s speaker=A,B"
)
@click.option("--best-of", type=int, metavar="N", help="Keep the best of N attempts: -s best_of=N.")
@click.option("--keywords", help="Words that a text must hold, with commas between: -s keywords=...")
@click.option("--explain", is_flag=True, help="Keep why each token was drawn in the record: -s explain=true.")
@click.option(
    "--stream",
    "streamed",
    is_flag=True,
    help="Print a text as it comes, and keep no file of it; one, unless -n says more.",
)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "bf16", "int8")),
    default="fp32",
    show_default=True,
    help="bf16 and int8 are faster where the model has them.",
)
@click.option("--block", type=int, help="Samples computed together; by default the sampler's own number.")
@click.option(
    "--threads",
    type=int,
    default=1,
    show_default=True,
    help="That a block is computed with. Another number changes a sample's last bits.",
)
@click.option(
    "--out",
    help="x.png (one sheet), x.txt or x.wav, as the samples are; x.npz, x.tar, or a folder, for any number of "
    "them. By default a file that is named after WEIGHTS.",
)
@click.option(
    "--encoding",
    type=click.Choice(("pcm16", "float32")),
    default="pcm16",
    show_default=True,
    help="Of the values in .wav.",
)
@click.option(
    "--shard-size", type=int, metavar="N", help="So many samples in each of x-000000.tar, x-000001.tar, ..."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Share the work; the samples stay the same.",
)
@click.option("--private", is_flag=True, help="Keep prompts and the names of given files out of the records.")
@click.option("--unverified", is_flag=True, help="Do not check the weights' bytes; the records say so.")
@click.option(
    "--sign",
    "certificate",
    metavar="CERT.pem",
    envvar="AIGC_C2PA_CERT",
    show_envvar=True,
    help="Sign pictures and sounds with content credentials (C2PA).",
)
@click.option(
    "--key", metavar="KEY.pem", envvar="AIGC_C2PA_KEY", show_envvar=True, help="The key to --sign with."
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def sample(
    weights: str,
    count: int | None,
    start: int,
    seed: int,
    sampler: str | None,
    options: tuple[tuple[str, str], ...],
    images: tuple[str, ...],
    masks: tuple[str, ...],
    sounds: tuple[str, ...],
    prompts: tuple[str, ...],
    prompts_from: str | None,
    labels: tuple[str, ...],
    speakers: tuple[str, ...],
    best_of: int | None,
    keywords: str | None,
    explain: bool,
    streamed: bool,
    precision: str,
    block: int | None,
    threads: int,
    out: str | None,
    encoding: str,
    shard_size: int | None,
    processes: int,
    private: bool,
    unverified: bool,
    certificate: str | None,
    key: str | None,
    quiet: bool,
) -> None:
    """Draw samples from WEIGHTS: a name in the store, name@version, or a file.

    A folder, x.npz and x.tar are written as the samples come. When that is cut off, the same command goes on
    from there.
    """
    shared = processes > 1 and not launched()
    registry = default() if shared else open_registry()  # what is to be remarked, they remark
    from aigc_core.sampling.writers import check_target, shards
    from aigc_core.weights.header import output_modality, read_header
    from aigc_core.weights.layout import is_path
    from aigc_core.weights.store import Store

    found = Store().resolve(weights)  # all this before torch is imported: a mistake is answered at once
    made = output_modality(read_header(found.path))
    if prompts_from is not None:
        prompts += _lines(prompts_from)
    named = {
        "speaker": ",".join(speakers) or None,
        "best_of": best_of,
        "keywords": keywords,
        "explain": explain or None,
    }
    chosen = {**dict(options), **{name: value for name, value in named.items() if value is not None}}
    if streamed:
        _check_streamed(out, made, processes)
        if explain:
            raise UsageError(
                "--explain is kept in the record of a file, and --stream keeps none: leave one of them out"
            )
        from aigc_core.sampling.stream import stream

        with contextlib.redirect_stdout(sys.stderr):
            chunks = stream(
                weights, count=count, start=start, seed=seed, sampler=sampler, options=chosen, prompts=prompts,
                labels=labels, precision=precision, block=block, threads=threads, registry=registry,
            )  # fmt: skip
        _print(chunks, start)
        return
    if out is None:
        name = Path(weights).stem if is_path(weights) else weights.replace("@", "-")
        out = f"{name}{default_ending(made)}"
    if count is None:
        count = max(map(len, (images, sounds, prompts, labels))) or 64
    signs = _signs(certificate, key, out, made)
    kept = None if encoding == "pcm16" else encoding
    check_target(out, made, indices=range(start, start + count), shard=shard_size, encoding=kept)
    if shared:
        _share(out, processes)
        return

    from aigc_core.progress import Progress
    from aigc_core.sampling.job import save, signer
    from aigc_core.sampling.request import request

    with contextlib.redirect_stdout(sys.stderr):  # a backend's prints are not the command's output
        request_ = request(
            found, count=count, start=start, seed=seed, sampler=sampler, options=chosen, images=images,
            masks=masks, sounds=sounds, prompts=prompts, labels=labels, encoding=kept,
            precision=precision, block=block, threads=threads, private=private, verify=not unverified, registry=registry,
        )  # fmt: skip
        progress = Progress(False if quiet else None)
        sign = signer(out, request_, signs)
        new = save(request_, out, shard_size=shard_size, sign=sign, registry=registry, progress=progress)
    if not new:
        note(f"{out} is there already, made by the same request")
    click.echo(shards(out, count, shard_size) if shard_size else out)


def _lines(path: str) -> tuple[str, ...]:
    """The lines of a file, but empty ones. Raises NotFoundError, DataError."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        found = tuple(line for line in content.decode("utf-8").splitlines() if line)
    except OSError as error:
        raise NotFoundError(f"--prompts-from {path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"--prompts-from {path}: not UTF-8 at byte {error.start}; convert it first") from None
    if not found:
        raise DataError(f"--prompts-from {path}: holds no prompt; write one a line")
    return found


def _check_streamed(out: str | None, modality: str, processes: int) -> None:
    """Raises UsageError for what can't be printed as it comes."""
    if modality != "text":
        raise UsageError(f"--stream is for texts, and these weights make {modality}; leave it out")
    if out is not None or processes > 1:
        raise UsageError(
            "--stream prints one text after the other and keeps no file: leave out --out and --processes"
        )


def _print(chunks: Iterator[Chunk], turn: int) -> None:
    """Prints texts as they come, one after the other from sample `turn` on; those that come beside it wait."""
    from aigc_core.modality.text import SEPARATOR

    waiting: dict[int, list[Chunk]] = {}
    between = ""
    for arrived in chunks:
        waiting.setdefault(arrived.index, []).append(arrived)
        while ready := waiting.pop(turn, []):
            for chunk in ready:
                click.echo(between + chunk.text, nl=False)
                between = ""
            sys.stdout.flush()
            if not ready[-1].last:
                break
            turn, between = turn + 1, SEPARATOR
    click.echo()


def _signs(certificate: str | None, key: str | None, out: str, modality: str) -> tuple[str, str] | None:
    """The certificate and key to sign with, if there are to be any. Those of the environment sign what can be signed.

    Raises UsageError.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UsageError("--sign CERT.pem and --key KEY.pem go together; give both")
    from aigc_core.provenance.credentials import check_signable

    try:
        check_signable(out, modality)
    except UsageError as error:
        if click.get_current_context().get_parameter_source("certificate") is ParameterSource.ENVIRONMENT:
            note(f"not signed: {error}")
            return None
        raise
    return certificate, key


def _share(out: str, processes: int) -> None:
    """Has this command run by several processes, and ends as they end."""
    from aigc_core.launch import launch
    from aigc_core.sampling.place import Place
    from aigc_core.sampling.writers import holds_many, is_folder

    if not holds_many(out):
        raise UsageError(
            f"--out {out} is put together by one process; for --processes end it in .npz, .tar or / (a file a sample)"
        )
    place = Place(Path(out), is_folder(out))
    with place.alone():
        code = launch(sys.argv[1:], processes)
        if not code:
            place.clear()  # one that came late may have made a piece again that was put in its place already
    if code:
        sys.exit(code)
