"""`python -m aigc_core` is `aigc`."""

import os

from aigc_core.cli import main

if __name__ == "__main__":
    if "AIGC_LAUNCHER" in os.environ:
        from aigc_core.launch import enlist

        enlist()
    main()
