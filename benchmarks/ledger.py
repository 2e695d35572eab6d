"""What the ledger costs: python benchmarks/ledger.py [SAMPLES]"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path

from aigc_core.provenance.environment import code_digest
from aigc_core.provenance.ledger import Ledger


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    contents = [f"sha256:{hashlib.sha256(str(i).encode()).hexdigest()}" for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        began = time.perf_counter()
        with ledger.of({"seed": 0, "weights": {"tensors_digest": "x" * 71}}, print) as entries:
            for index, content in enumerate(contents):
                entries.add(content, index, 1)
        took = time.perf_counter() - began
        size = ledger.path.stat().st_size
        began = time.perf_counter()
        assert ledger.find(contents[count // 2])[0]["start"] == count // 2
        found = time.perf_counter() - began
    began = time.perf_counter()
    assert code_digest("aigc_core")
    code = time.perf_counter() - began
    print(f"{count} samples: {took / count * 1e6:.1f} us and {size / count:.0f} bytes each; one is found in "
          f"{found * 1e3:.1f} ms; the digest of the core's code takes {code * 1e3:.1f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
