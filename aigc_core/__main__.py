"""`python -m aigc_core` is `aigc`."""

from aigc_core.cli import main

if __name__ == "__main__":
    main()
