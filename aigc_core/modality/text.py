"""Texts: bytes of UTF-8 in data, a numpy array of text as samples, plain text in files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from aigc_core.modality.base import MANY, Encoded, Modality
from aigc_core.provenance.content import Content
from aigc_core.provenance.content import text as text_content

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from aigc_core.specs import Output

SEPARATOR: Final = "\n---\n"
"""Between the texts of one file."""

TEXT_LIMIT: Final = 1 << 30
"""Bytes of one file of texts, which is put together in memory."""

LONGEST: Final = 1 << 16
"""Bytes that a text of any length is taken to have at most, where that decides how many go into one file."""


class Text(Modality):
    """Byte values 0 .. 255, never scaled. A 0 byte ends a text; what follows it is dropped."""

    name = "text"
    items = "texts"
    dtype = np.uint8
    axes = ("bytes",)
    resize = "choose the bytes of an item by --size N"
    endings: ClassVar[Mapping[str, str]] = {".txt": "texts with a line '---' between", **MANY}
    golden = 4
    beside = (".json",)

    def batch(self, items: Tensor, output: Output) -> Tensor:
        """uint8 [N, length] to int64."""
        return items.long()

    def problem(self, values: Tensor, output: Output) -> str:
        if values.is_floating_point() or values.is_complex():
            return f"{values.dtype} for text; it must return whole numbers, the bytes' values"
        return ""

    def samples(self, values: Tensor, output: Output) -> npt.NDArray[np.str_]:
        """[N, length] byte values to texts [N]; what is no UTF-8 becomes U+FFFD."""
        rows = values.long().clamp(0, 255).byte().cpu().numpy()
        return np.array(
            [row.tobytes().partition(b"\0")[0].decode("utf-8", "replace") for row in rows], np.str_
        )

    def arrays(self, samples: npt.NDArray[Any], output: Output) -> dict[str, npt.NDArray[Any]]:
        return {"text": samples}

    def most(self, output: Output) -> int:
        longest = output.shape[0] if output.shape[0] > 0 else LONGEST
        return max(1, TEXT_LIMIT // (longest + len(SEPARATOR)))

    def encode(
        self,
        samples: npt.NDArray[Any],
        output: Output,
        record: Mapping[str, Any],
        pictures: Sequence[npt.NDArray[np.uint8]] = (),
    ) -> Encoded:
        """Plain text has no place for a record: it gets a file of its own, `x.txt.json`."""
        joined = self.content(samples, output)
        record_text = json.dumps({**record, "content": joined.digest}, indent=2, ensure_ascii=False) + "\n"
        return Encoded({".json": record_text.encode(), "": bytes(joined.data)}, joined.digest)

    def content(self, samples: npt.NDArray[Any], output: Output) -> Content:
        return text_content(SEPARATOR.join(samples.tolist()))

    def record_text(self, path: Path) -> str:
        beside = path.with_name(f"{path.name}.json")
        return beside.read_text(encoding="utf-8") if beside.is_file() else ""
