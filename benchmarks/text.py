"""Decoding speed beside transformers' generate(), what int8 costs, and how near the machine's limits that is.

    python benchmarks/text.py --peers DIR [--python PEERS_PYTHON] [--pairs 3] [--only char gpt2]
    python benchmarks/text.py --int8 WEIGHTS --text FILE        the perplexity that int8 costs

`--peers` holds `transformers_gpt.py`. Each pair is a run of ours and one of the peer's, one after the other, each in a
process of its own with as many threads; the figure is the median of the ratios. Both continue 8 tokens by 128, greedily,
after a warm-up of 4. Time is of the whole call, the reading of the prompts too. Prints two tables; fails if a bound
is missed. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

TOKENS, PROMPT, WARM = 128, 8, 4


@dataclass(frozen=True)
class Race:
    name: str
    shape: Mapping[str, Any]
    batch: int
    at_least: float
    weights: str = "float32"
    precision: str = "float32"


CHAR = {"layers": 6, "heads": 6, "width": 384, "context": 256, "vocabulary": 65}
GPT2 = {"layers": 12, "heads": 12, "width": 768, "context": 1024, "vocabulary": 50257}
RACES = [
    Race("char", CHAR, 1, 2.5),
    Race("char", CHAR, 32, 3.0),
    Race("char", CHAR, 32, 0.0, precision="bfloat16"),
    Race("gpt2", GPT2, 1, 1.15),
    Race("gpt2", GPT2, 1, 2.5, weights="int8"),
]


def build(shape: Mapping[str, Any], weights: str, precision: str) -> Any:
    """A network of fresh weights, with a tokenizer of as many tokens."""
    from aigc_text.coders import Characters
    from aigc_text.config import GPTConfig
    from aigc_text.gpt import GPT
    from aigc_text.int8 import convert
    from aigc_text.vocabulary import TextTokenizer

    from aigc_core.specs import DataInfo

    shape = dict(shape)
    first = 0x4E00 if shape["vocabulary"] > 1000 else 33
    letters = [chr(c) for c in range(first, first + 60_000) if not 0xD800 <= c < 0xE000]
    tokenizer = TextTokenizer(Characters("".join(letters[: shape.pop("vocabulary") - 1])))
    torch.manual_seed(0)
    model = GPT(GPTConfig(**shape), DataInfo("text", (2,), (), {}, tokenizer.assets)).eval()
    model = convert(model) if weights == "int8" else model
    return model.to(getattr(torch, precision))


def child(shape: Mapping[str, Any], batch: int, weights: str, precision: str) -> dict[str, float]:
    """One generation of ours: seconds to the first token, and to the last."""
    from aigc_text.options import GreedyOptions
    from aigc_text.samplers import Greedy

    from aigc_core.interfaces import Block

    model = build(shape, weights, precision)
    rng = torch.Generator().manual_seed(1)
    table = model.tokenizer.coder.table
    numbers = torch.randint(0, len(table) - 1, (batch, PROMPT), generator=rng).tolist()
    prompts = tuple(b"".join(table[i] for i in row).decode() for row in numbers)

    def generate(tokens: int) -> tuple[float, float]:
        block = Block(0, 0, batch, torch.device("cpu"), prompts=prompts)
        options = GreedyOptions(max_tokens=tokens, min_tokens=tokens, echo=False)
        start = time.perf_counter()
        stream = Greedy(options).stream(model, block)
        next(stream)
        first = time.perf_counter() - start
        for _ in stream:
            pass
        return first, time.perf_counter() - start

    generate(WARM)
    first, whole = generate(TOKENS)
    read = sum(t.numel() * t.element_size() for n, t in model.state_dict().items() if n != "wpe.weight")
    return {"first": first, "rate": batch * TOKENS / whole, "bytes": read}


def output(command: list[str]) -> tuple[list[dict[str, float]], float]:
    """The JSON lines that a process prints, and the bytes of memory that it had at most."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    lines = process.stdout.read().strip().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return [json.loads(line) for line in lines if line.startswith("{")], usage.ru_maxrss * 1024


def bandwidth(size: int = 1 << 26) -> float:
    """Bytes a second that are read by sums of much memory: the best of ten."""
    values, best = torch.ones(size), math.inf
    for _ in range(10):
        start = time.perf_counter()
        values.sum()
        best = min(best, time.perf_counter() - start)
    return 4 * size / best


def races(arguments: argparse.Namespace, folder: Path) -> bool:
    reads = bandwidth()
    print(f"Measured: {reads / 1e9:.0f} GB/s are read, with {arguments.threads} threads.\n")
    print(
        "| model | batch | weights | ours, tokens/s | peer, tokens/s | ratio | at least | first token, ms | ",
        end="",
    )
    print("of the bandwidth | memory, ours / peer, MB |\n" + "| --- " * 10 + "|")
    missed = False
    script = str(arguments.peers / "transformers_gpt.py")
    for race in RACES:
        if race.name not in arguments.only:
            continue
        command = [arguments.python, script, "--tokens", str(TOKENS), "--batches", str(race.batch)]
        if race.name == "gpt2":
            command += ["--checkpoint", str(folder)]
            if not any(folder.iterdir()):
                code = "import sys; from transformers import *; GPT2LMHeadModel(GPT2Config()).save_pretrained(sys.argv[1])"
                subprocess.run([arguments.python, "-c", code, str(folder)], check=True, capture_output=True)
        given = json.dumps([dict(race.shape), race.batch, race.weights, race.precision])
        pairs = []
        for _ in range(arguments.pairs):
            ours, memory = output([sys.executable, __file__, "--child", given])
            peers, more = output(command)
            pairs.append((ours[0], memory, peers[0]["tokens_per_s"], more))
        ratio = statistics.median(ours["rate"] / peer for ours, _, peer, _ in pairs)
        rate = statistics.median(ours["rate"] for ours, *_ in pairs)
        share = pairs[0][0]["bytes"] * rate / race.batch / reads
        missed |= ratio < race.at_least
        weights = race.weights if race.precision == "float32" else race.precision
        print(f"| {race.name} | {race.batch} | {weights} | {rate:,.0f} ", end="")
        print(
            f"| {statistics.median(p for _, _, p, _ in pairs):,.0f} | {ratio:.2f} | {race.at_least:g} ",
            end="",
        )
        print(f"| {1e3 * statistics.median(o['first'] for o, *_ in pairs):.1f} | {share:.0%} ", end="")
        print(
            f"| {max(m for _, m, _, _ in pairs) / 1e6:.0f} / {max(m for *_, m in pairs) / 1e6:.0f} |",
            flush=True,
        )
    return missed


def perplexity(model: Any, text: str, texts: int = 32) -> float:
    """Of the tokens of windows spread over a text, read one by one as they would be written."""
    tokens = torch.from_numpy(model.tokenizer.encode(text))
    length = min(model.context or 256, len(tokens) // texts - 1)
    starts = torch.linspace(0, len(tokens) - length - 1, texts).long()
    windows = tokens[starts[:, None] + torch.arange(length + 1)]
    memory, total = model.memory(texts, length), 0.0
    with torch.inference_mode():
        for place in range(length):
            logs = model.advance(windows[:, place : place + 1], memory).float().log_softmax(1)
            total -= float(logs.gather(1, windows[:, place + 1 : place + 2]).sum())
    return math.exp(total / (texts * length))


def cost(arguments: argparse.Namespace) -> bool:
    from aigc_text.int8 import convert

    from aigc_core import load

    model: Any = load(arguments.int8).generator
    text = arguments.text.read_text(encoding="utf-8")
    before, after = perplexity(model, text), perplexity(convert(model), text)
    print(
        f"Perplexity a token: {before:.4f} in float32, {after:.4f} in int8: {after / before - 1:+.3%}, at most 1%."
    )
    return after / before > 1.01


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--python", default=sys.executable, help="of the peers' environment")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=["char", "gpt2"])
    parser.add_argument("--int8", help="weights of a trained model")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(*json.loads(arguments.child))))
        return
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    torch.set_num_threads(arguments.threads)
    if arguments.int8 and arguments.text:
        missed = cost(arguments)
    elif arguments.peers:
        with tempfile.TemporaryDirectory() as folder:
            missed = races(arguments, Path(folder))
    else:
        parser.error("--peers, or --int8 and --text, are needed")
    if missed:
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
