"""What tells other programs that a machine made a file: XMP in pictures, a LIST chunk in sounds."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any, Final

SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for what a trained model made."""
XMP_KEYWORD: Final = "XML:com.adobe.xmp"
"""Of the iTXt chunk that holds XMP in a PNG (XMP specification, part 3)."""

_NAMES: Final = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
_BEGIN: Final = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END: Final = '<?xpacket end="r"?>'


def xmp(record: Mapping[str, Any]) -> str:
    """An XMP packet: IPTC's digital source type, the tool, the model, its weights (IPTC Photo Metadata 2025.1)."""
    return _packet(*_said(record))


def info_chunk(record: Mapping[str, Any]) -> bytes:
    """The body of a RIFF `LIST` chunk of type `INFO`: the software, and that a model made the sound."""
    tool, model, weights = _said(record)
    comment = f"made by a generative model ({SOURCE_TYPE}): {model} {weights}".rstrip()
    body = b"INFO"
    for name, text in ((b"ISFT", tool), (b"ICMT", comment)):
        content = text.encode("utf-8") + b"\0"
        body += name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return body


def tool(record: Mapping[str, Any]) -> str:
    """`aigc-core 0.1.0`"""
    return f"aigc-core {record.get('core', '')}".rstrip()


def _said(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Tool, model and weights of a record, which need not have them all."""
    weights = record.get("weights")
    weights = weights if isinstance(weights, Mapping) else {}
    model = str(weights.get("model") or record.get("model") or "")
    name = " ".join(str(part) for part in (weights.get("name"), weights.get("tensors_digest")) if part)
    return tool(record), model, name


@functools.lru_cache(maxsize=8)
def _packet(tool: str, model: str, weights: str) -> str:
    """The same for all samples of a request."""
    import xml.etree.ElementTree as ET

    for prefix, uri in _NAMES.items():
        ET.register_namespace(prefix, uri)
    root = ET.Element(_name("x", "xmpmeta"))
    about = ET.SubElement(
        ET.SubElement(root, _name("rdf", "RDF")), _name("rdf", "Description"), {_name("rdf", "about"): ""}
    )
    for prefix, name, value in (
        ("Iptc4xmpExt", "DigitalSourceType", SOURCE_TYPE), ("xmp", "CreatorTool", tool),
        ("Iptc4xmpExt", "AISystemUsed", model), ("Iptc4xmpExt", "AISystemVersionUsed", weights),
    ):  # fmt: skip
        if value:
            ET.SubElement(about, _name(prefix, name)).text = value
    return f"{_BEGIN}{ET.tostring(root, encoding='unicode')}{_END}"


def _name(prefix: str, name: str) -> str:
    return f"{{{_NAMES[prefix]}}}{name}"
