"""Content credentials (C2PA) as an extra: files that are signed, and what a signature says.

c2pa-python does the work; it is imported where a file is signed, or is found to be signed.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from aigc_core.errors import BackendError, NotFoundError, UsageError
from aigc_core.modality import default_ending
from aigc_core.provenance.marks import SOURCE_TYPE

if TYPE_CHECKING:
    from types import ModuleType

INSTALL: Final = 'install it: pip install "aigc-core[c2pa]"'
TYPES: Final = {".png": "image/png", ".wav": "audio/wav"}
"""The files that can be signed."""
RECORD_LABEL: Final = "org.aigc.record"
"""Of the assertion that holds the record."""
TRUST: Final = "AIGC_C2PA_TRUST"
"""Names a PEM file of the certificates that signers must descend from to be trusted."""

_UNTRUSTED: Final = "signingCredential.untrusted"


class Credentials(TypedDict):
    """What `aigc inspect` says of a signature."""

    by: str | None
    """The name and the organisation in the certificate."""
    state: str | None
    """`trusted`, `valid` (by a certificate that nobody here vouches for), `invalid`; None without the library."""
    problems: list[str]
    """Codes of the C2PA specification."""


class Signer:
    """Signs files with one certificate."""

    def __init__(self, certificate: str | Path, key: str | Path) -> None:
        """PEM files: the certificate, followed by those that it descends from, and its private key.

        Raises NotFoundError; UsageError if they can't sign; BackendError where the library is missing.
        """
        self._library: Final = _library()
        chain, secret = _content(Path(certificate)), _content(Path(key))
        algorithm = _algorithm(secret, Path(key))
        try:
            info = self._library.C2paSignerInfo(algorithm, chain, secret, None)
            self._signer: Final = self._library.Signer.from_info(info)
            self(_smallest_picture(), ".png", {})
        except (self._library.C2paError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{certificate} and {key} can't sign: {reason}") from None

    def __call__(self, content: bytes, ending: str, record: Mapping[str, Any]) -> bytes:
        """The bytes of a file with a manifest: that a trained model made it, with what, and its record."""
        tool = {"name": "aigc-core", "version": str(record.get("core", "0"))}
        made = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "softwareAgent": tool}
        manifest = {
            "claim_generator_info": [tool],
            "assertions": [
                {"label": "c2pa.actions", "data": {"actions": [made]}},
                {"label": RECORD_LABEL, "data": dict(record)},
            ],
        }
        signed = io.BytesIO()
        context = self._library.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})
        with self._library.Builder(manifest, context=context) as builder:
            builder.sign(self._signer, TYPES[ending], io.BytesIO(content), signed)
        return signed.getvalue()


def check_signable(out: str | Path, modality: str) -> None:
    """Raises UsageError where samples of that modality, written to `out`, can't carry a signature."""
    from aigc_core.sampling.writers import is_folder

    if default_ending(modality) not in TYPES or (not is_folder(out) and Path(out).suffix == ".npz"):
        what = (
            f"--out {out} can't be signed"
            if modality in ("image", "audio")
            else f"{modality}s can't be signed"
        )
        raise UsageError(f"{what}; --sign is for pictures and sounds, in .png, .wav, .tar or a folder")


def credentials(path: Path) -> Credentials | None:
    """What the signature of a file says and whether it holds; None if it carries none. Raises NotFoundError where
    AIGC_C2PA_TRUST names no file."""
    content = path.read_bytes()
    media = "image/png" if content[:4] == b"\x89PNG" else "audio/wav"
    if not is_signed(content):
        return None
    try:
        library = _library()
    except BackendError:
        return Credentials(by=None, state=None, problems=[])
    try:
        with library.Reader(media, io.BytesIO(content), context=_trust(library)) as reader:
            state, found = str(reader.get_validation_state()), json.loads(reader.json())
    except library.C2paError as error:
        return Credentials(by=None, state="invalid", problems=[" ".join(str(error).split())])
    signature = found["manifests"][found["active_manifest"]].get("signature_info", {})
    names = [str(signature[key]) for key in ("common_name", "issuer") if signature.get(key)]
    problems = sorted({entry["code"] for entry in found.get("validation_status", [])} - {_UNTRUSTED})
    return Credentials(by=", ".join(names) or None, state=state.lower(), problems=problems)


def is_signed(content: bytes) -> bool:
    """Whether a PNG has a chunk `caBX`, or a RIFF file a chunk `C2PA`."""
    png, riff = content[:8] == b"\x89PNG\r\n\x1a\n", content[:4] == b"RIFF"
    if not (png or riff):
        return False
    at = 8 if png else 12
    while at + 8 <= len(content):
        first, second = content[at : at + 4], content[at + 4 : at + 8]
        if (second == b"caBX") if png else (first == b"C2PA"):
            return True
        if png:  # a checksum follows
            at += 12 + int.from_bytes(first, "big")
        else:
            size = int.from_bytes(second, "little")
            at += 8 + size + size % 2
    return False


def _library() -> ModuleType:
    try:
        import c2pa
    except ImportError as error:
        raise BackendError(f"content credentials need c2pa-python ({error}); {INSTALL}") from None
    found: ModuleType = c2pa
    return found


def _trust(library: ModuleType) -> Any:
    """The context to judge a certificate in."""
    anchors = os.environ.get(TRUST)
    if not anchors:
        return None
    pem = _content(Path(anchors)).decode()
    return library.Context.from_dict({"trust": {"user_anchors": pem}, "verify": {"verify_trust": True}})


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path}: {(error.strerror or str(error)).lower()}; name a PEM file") from None


def _algorithm(secret: bytes, path: Path) -> bytes:
    """The name of the algorithm that a private key is for. Raises UsageError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(secret, None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: not a private key in PEM without a password: {error}") from None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        found = {256: b"es256", 384: b"es384", 521: b"es512"}.get(key.curve.key_size)
        if found:
            return found
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return b"ps256"
    raise UsageError(f"{path}: C2PA does not sign with such a key; use ECDSA, Ed25519 or RSA")


def _smallest_picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    return file.getvalue()
