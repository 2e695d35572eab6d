"""What is chosen by the machine that trains: by what it has, never by a timing."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from aigc_core.errors import UsageError


def precision(asked: str, device: torch.device) -> str:
    """`auto` resolved by what the machine can do, never by a timing: the same command gives the same result.

    Raises UsageError for what the device can't do.
    """
    if asked == "fp16" and device.type != "cuda":
        raise UsageError("--precision fp16 needs a GPU; on this machine use bf16 or fp32")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def keep_freed_memory() -> None:
    """Has glibc keep what is freed for the next step, instead of giving large blocks back to the system, which
    hands them out again page by page, zeroed. Elsewhere nothing is done."""
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the most that it takes
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
