"""Files are signed with content credentials (C2PA), by a certificate that a small authority made for the test."""

from __future__ import annotations

import datetime
import json
import sys
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import Run
from PIL import Image

import aigc_core
from aigc_core.provenance.credentials import RECORD_LABEL, Signer, is_signed
from aigc_core.provenance.marks import SOURCE_TYPE
from aigc_core.sampling.records import read_record
from aigc_core.sampling.writers import write_one
from aigc_core.specs import Output
from aigc_core.training.job import train

c2pa = pytest.importorskip("c2pa")
x509 = pytest.importorskip("cryptography.x509")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402


@dataclass
class Papers:
    certificate: Path
    key: Path
    authority: Path
    stranger: Path
    """A key that the certificate does not belong to."""

    @property
    def options(self) -> list[object]:
        return ["--sign", self.certificate, "--key", self.key]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    authority_key, key, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority = certificate("The authority", authority_key, None, authority_key)
    own = certificate("The signer", key, authority, authority_key)
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(own.public_bytes(pem) + authority.public_bytes(pem))
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    for name, secret in (("key.pem", key), ("stranger.pem", stranger)):
        (folder / name).write_bytes(
            secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
    return Papers(folder / "cert.pem", folder / "key.pem", folder / "ca.pem", folder / "stranger.pem")


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    signing: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """One that may sign certificates if nobody issues it, and files otherwise."""
    oid = x509.oid.NameOID
    subject = x509.Name(
        [x509.NameAttribute(oid.COMMON_NAME, name), x509.NameAttribute(oid.ORGANIZATION_NAME, "Test")]
    )
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    uses = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    uses.update({"key_cert_sign": True, "crl_sign": True} if issuer is None else {"digital_signature": True})
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + 30 * day)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**uses), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
    )
    if issuer is not None:
        email = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(email, critical=False)
    return builder.sign(signing, hashes.SHA256())


@pytest.fixture
def weights() -> Path:
    return train("vae/mlp", "digits", steps=1, options={"hidden": (8,)}).path


def test_a_signed_picture_says_who_signed_it_and_keeps_its_record(
    weights: Path, papers: Papers, tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, signed = tmp_path / "plain.png", tmp_path / "signed.png"
    assert aigc("sample", weights, "-n", 2, "--out", plain).code == 0
    assert aigc("sample", weights, "-n", 2, *papers.options, "--out", signed).err == ""
    assert read_record(signed) == read_record(plain)
    assert is_signed(signed.read_bytes())
    assert not is_signed(plain.read_bytes())
    found = aigc_core.inspect(signed)
    assert found["intact"] is True
    assert found["credentials"] == {"by": "The signer, Test", "state": "valid", "problems": []}
    assert aigc_core.inspect(plain)["credentials"] is None
    assert "by The signer, Test: valid; AIGC_C2PA_TRUST names no authority" in aigc("inspect", signed).out
    monkeypatch.setenv("AIGC_C2PA_TRUST", str(papers.authority))
    assert "by The signer, Test: valid, and trusted" in aigc("inspect", signed).out
    with c2pa.Reader(str(signed)) as reader:
        told = json.loads(reader.json())
    assertions = {a["label"]: a["data"] for a in told["manifests"][told["active_manifest"]]["assertions"]}
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", SOURCE_TYPE)
    assert action["softwareAgent"]["name"] == "aigc-core"
    assert assertions[RECORD_LABEL] == read_record(plain)
    assert aigc("replay", signed).out.startswith("exact")
    assert aigc_core.trace(signed)["intact"] is True


def test_a_file_that_was_changed_after_it_was_signed_is_told(
    weights: Path, papers: Papers, tmp_path: Path, aigc: Run
) -> None:
    aigc("sample", weights, "-n", 1, *papers.options, "--out", tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    at = content.index(b"iTXtaigc")
    end = at + 4 + int.from_bytes(content[at - 4 : at], "big")
    chunk = content[at:end].replace(b'"seed": 0', b'"seed": 1')
    checksum = zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(content[:at] + chunk + checksum + content[end + 4 :])
    found = aigc_core.inspect(tmp_path / "x.png")["credentials"]
    assert (found["state"], found["problems"]) == ("invalid", ["assertion.dataHash.mismatch"])
    assert "INVALID (assertion.dataHash.mismatch)" in aigc("inspect", tmp_path / "x.png").out
    with Image.open(tmp_path / "x.png") as image:
        image.convert("RGB").save(tmp_path / "y.png")
    assert aigc_core.trace(tmp_path / "y.png")["found_by"] == "ledger"


def test_folders_archives_and_sounds_are_signed(
    weights: Path, papers: Papers, tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_C2PA_CERT", str(papers.certificate))
    monkeypatch.setenv("AIGC_C2PA_KEY", str(papers.key))
    for out in ("f/", "x.tar"):
        assert aigc("sample", weights, "-n", 3, "--out", f"{tmp_path}/{out}").err == ""
    assert aigc_core.inspect(tmp_path / "f/000002.png")["credentials"]["state"] == "valid"
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert is_signed(archive.extractfile("000002.png").read())  # type: ignore[union-attr]
    assert "is there already" in aigc("sample", weights, "-n", 3, "--out", tmp_path / "f/").error
    unsigned = aigc("sample", weights, "-n", 3, "--out", tmp_path / "x.npz")
    assert (unsigned.code, "not signed: --out" in unsigned.error) == (0, True)
    sounds = np.linspace(-1, 1, 400, dtype=np.float32).reshape(1, 1, 400)
    sign, output = (
        Signer(papers.certificate, papers.key),
        Output("audio", (1, 400), -1, 1, {"sample_rate": 8000}),
    )
    for encoding in ("pcm16", "float32"):
        kept = {"start": 0, "count": 1, "encoding": encoding}
        content = write_one(tmp_path / "x.wav", [sounds], output, kept, sign=sign)
        found = aigc_core.inspect(tmp_path / "x.wav")
        assert (found["content"], found["intact"]) == (content, True)
        assert found["credentials"]["state"] == "valid"


def test_what_cannot_sign_is_said_before_anything_is_computed(
    weights: Path, papers: Papers, tmp_path: Path, aigc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cert, key, message, code in (
        (papers.certificate, tmp_path / "none.pem", "none.pem: no such file or directory; name a PEM file", 3),
        (papers.certificate, papers.certificate, "not a private key in PEM", 2),
        (papers.authority, papers.key, "can't sign: ", 2), (papers.certificate, papers.stranger, "can't sign: ", 2),
    ):  # fmt: skip
        result = aigc("sample", weights, "--sign", cert, "--key", key, "--out", tmp_path / "x.png")
        assert (result.code, message in result.error) == (code, True), result.err
    assert "go together; give both" in aigc("sample", weights, "--sign", papers.certificate).error
    npz = aigc("sample", weights, *papers.options, "--out", tmp_path / "x.npz")
    assert (npz.code, "can't be signed; --sign is for pictures and sounds" in npz.error) == (2, True)
    aigc("sample", weights, *papers.options, "--out", tmp_path / "signed.png")
    monkeypatch.setitem(sys.modules, "c2pa", None)
    missing = aigc("sample", weights, *papers.options, "--out", tmp_path / "x.png")
    assert missing.code == 4
    assert 'install it: pip install "aigc-core[c2pa]"' in missing.error
    assert 'with content credentials; to check them, install it: pip install "aigc-core[c2pa]"' in aigc(
        "inspect", tmp_path / "signed.png"
    ).out  # fmt: skip
    assert [p.name for p in tmp_path.glob("x.*")] == []
