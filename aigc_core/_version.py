"""The version of aigc-core, read by the build and by `aigc --version` alike."""

__version__ = "0.1.0"
