"""What a photo or document really is, and the same without what its maker did not mean to publish.

Types are told by content, never by name or header. Metadata goes before anything is hashed: of JPEG, PNG and WebP only
the parts a decoder needs are kept, byte for byte, so pixels do not change; only a photo that its camera stored turned
is decoded and stored upright. What follows the picture (a second file, for those who look for it) is not copied.
PDF is kept as it is: it must begin and end as one, and may not carry programs or files.

Sources: ITU-T T.81 annex B (JPEG markers), PNG third edition section 5, RFC 9649 (WebP container), ISO 32000-2 7.5.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import NoReturn

from PIL import Image, ImageOps, JpegImagePlugin

from ..ledger.errors import Refusal
from .problems import HttpRefusal

MAX_SIDE = 20_000
MAX_ASPECT = 25
MAX_EXPANSION = 600
"""Most decoded bytes for a byte of file, once decoding takes more than `_FREE_DECODED` bytes."""
_FREE_DECODED = 16 * 1024 * 1024
_MAX_PROFILE = 64 * 1024

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs"})
_SOI, _EOI, _SOS, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive: what browsers decode
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_PDF_HEADER = re.compile(rb"%PDF-(1\.[0-7]|2\.0)[\r\n ]")
_PDF_ACTIVE = re.compile(rb"/(JavaScript|Launch|EmbeddedFiles?|RichMedia|XFA)\b")
_ZIP_END = b"PK\x05\x06"
_MODES_BYTES = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "YCbCr": 3, "RGBA": 4, "CMYK": 4, "I;16": 2, "I": 4, "F": 4}


@dataclass(frozen=True)
class CleanFile:
    """Bytes fit to be published, and what they are (a media type of formats section 7)."""

    content: bytes
    media_type: str


def media_type_of(head: bytes) -> str | None:
    """The media type that the first bytes tell, or None for whatever we do not take."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(_PNG_SIGNATURE):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if _PDF_HEADER.match(head):
        return "application/pdf"
    return None


def clean(content: bytes, max_pixels: int) -> CleanFile:
    """The file without metadata. Raises Refusal when it is of another type, damaged, or decodes to too much."""
    media_type = media_type_of(content[:16])
    try:
        match media_type:
            case "image/jpeg":
                return _clean_picture(content, "JPEG", media_type, _JpegParts(content).kept(max_pixels))
            case "image/png":
                return _clean_picture(content, "PNG", media_type, _png_kept(content, max_pixels))
            case "image/webp":
                return _clean_picture(content, "WEBP", media_type, _webp_kept(content, max_pixels))
            case "application/pdf":
                return CleanFile(_checked_pdf(content), media_type)
            case _:
                raise HttpRefusal(
                    415,
                    "attachment-type",
                    zh="只接受 JPEG、PNG、WebP 图片和 PDF 文件（按内容识别）",
                    en="only JPEG, PNG and WebP pictures and PDF documents are taken, told by their content",
                    expected="image/jpeg, image/png, image/webp, application/pdf",
                )
    except (struct.error, IndexError):
        _damaged("文件不完整", "the file is cut short")


def _clean_picture(original: bytes, form: str, media_type: str, kept: bytes) -> CleanFile:
    upright = _turned_upright(original, form)
    content = kept if upright is None else upright
    _decode_whole(content, form)
    return CleanFile(content, media_type)


def _decode_whole(content: bytes, form: str) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=[form]) as image:
            decoded = image.width * image.height * _MODES_BYTES.get(image.mode, 4)
            if decoded > max(_FREE_DECODED, MAX_EXPANSION * len(content)):
                _too_large("图片解压后过大", "the picture expands to far more than its size")
            if getattr(image, "n_frames", 1) != 1:
                _damaged("不接受动画或多页图片", "pictures with several frames are not taken")
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise _refusal("图片无法解码", "the picture cannot be decoded") from error


def _turned_upright(original: bytes, form: str) -> bytes | None:
    """The picture decoded and stored upright when its EXIF says it is turned; None when it is upright already."""
    if b"Exif" not in original[:262_144] and b"EXIF" not in original:
        return None
    try:
        with Image.open(io.BytesIO(original), formats=[form]) as image:
            if form == "PNG" or image.getexif().get(0x0112, 1) == 1:
                return None
            out = io.BytesIO()
            turned = ImageOps.exif_transpose(image)
            profile = _profile(image.info.get("icc_profile"))
            if form == "JPEG" and isinstance(image, JpegImagePlugin.JpegImageFile):
                tables, sampling = image.quantization, JpegImagePlugin.get_sampling(image)
                plain = Image.new(turned.mode, turned.size)
                plain.paste(turned)
                plain.save(out, "JPEG", qtables=tables, subsampling=max(sampling, 0), icc_profile=profile)
            else:
                turned.save(out, "WEBP", quality=90, exif=b"", xmp=b"", icc_profile=profile)
            return out.getvalue()
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, KeyError, TypeError) as error:
        raise _refusal("图片无法解码", "the picture cannot be decoded") from error


def _profile(profile: bytes | None) -> bytes | None:
    return profile if profile and len(profile) <= _MAX_PROFILE else None


class _JpegParts:
    """A JPEG file, read marker by marker."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def kept(self, max_pixels: int) -> bytes:
        """The image with its tables, JFIF and Adobe markers and colour profile: nothing else, and nothing after it."""
        data, out, at, scans = self.content, bytearray(b"\xff\xd8"), 2, 0
        profile_bytes = 0
        while True:
            at, marker = self._marker(at)
            if marker == _EOI:
                if not scans:
                    _damaged("没有图像内容", "there is no picture in it")
                return bytes(out + b"\xff\xd9")
            if marker in _STANDALONE:
                continue
            if marker == _SOI or marker in _OTHER_FRAMES:
                _damaged("不支持的 JPEG 编码", "a JPEG coding that browsers do not show")
            (length,) = struct.unpack_from(">H", data, at)
            segment = data[at : at + length]
            if length < 2 or len(segment) != length:
                _damaged("文件不完整", "the file is cut short")
            at += length
            if marker in _FRAMES:
                height, width = struct.unpack_from(">HH", segment, 3)
                _check_pixels(width, height, max_pixels)
            is_profile = marker == 0xE2 and segment[2:14] == b"ICC_PROFILE\0"
            if is_profile:
                profile_bytes += length
            is_application = 0xE0 <= marker <= 0xEF or marker == 0xFE
            is_jfif = marker == _APP0 and segment[2:7] == b"JFIF\0" and length == 16
            is_adobe = marker == _APP14 and segment[2:7] == b"Adobe" and length == 14
            if not is_application or is_jfif or is_adobe or (is_profile and profile_bytes <= _MAX_PROFILE):
                out += b"\xff" + bytes((marker,)) + segment
            if marker == _SOS:
                scans += 1
                end = _SCAN_END.search(data, at)
                if end is None:
                    _damaged("文件不完整", "the file is cut short")
                out += data[at : end.start()]
                at = end.start()

    def _marker(self, at: int) -> tuple[int, int]:
        if self.content[at] != 0xFF:
            _damaged("JPEG 结构有误", "the JPEG structure is broken")
        while self.content[at] == 0xFF:
            at += 1
        return at + 1, self.content[at]


def _png_kept(content: bytes, max_pixels: int) -> bytes:
    out, at, profile = bytearray(_PNG_SIGNATURE), len(_PNG_SIGNATURE), False
    while True:
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            _damaged("文件不完整", "the file is cut short")
        if at == len(_PNG_SIGNATURE):
            if kind != b"IHDR" or length != 13:
                _damaged("PNG 结构有误", "the PNG structure is broken")
            width, height = struct.unpack_from(">II", content, at + 8)
            _check_pixels(width, height, max_pixels)
        if kind == b"iCCP" and length <= _MAX_PROFILE and not profile:
            profile = True
            out += content[at:end]
        elif kind in _PNG_KEPT:
            out += content[at:end]
        elif not kind[0] & 0x20:
            _damaged("未知的 PNG 关键数据块", "an unknown critical PNG chunk")
        if kind == b"IEND":
            return bytes(out)
        at = end


def _webp_kept(content: bytes, max_pixels: int) -> bytes:
    declared = struct.unpack_from("<I", content, 4)[0] + 8
    if declared > len(content) or declared < 20:
        _damaged("文件不完整", "the file is cut short")
    chunks: list[tuple[bytes, bytes]] = []
    at = 12
    while at < declared:
        kind, length = struct.unpack_from("<4sI", content, at)
        body = content[at + 8 : at + 8 + length]
        if len(body) != length or at + 8 + length > declared:
            _damaged("文件不完整", "the file is cut short")
        chunks.append((kind, body))
        at += 8 + length + (length & 1)
    if any(kind in (b"ANIM", b"ANMF") for kind, _ in chunks):
        _damaged("不接受动画图片", "animations are not taken")
    out = bytearray()
    for kind, body in chunks:
        if kind == b"VP8X":
            width = int.from_bytes(body[4:7], "little") + 1
            height = int.from_bytes(body[7:10], "little") + 1
            _check_pixels(width, height, max_pixels)
            flags = body[0] & 0b0001_0000 | (body[0] & 0b0010_0000 if _has_small_profile(chunks) else 0)
            body = bytes((flags,)) + b"\0\0\0" + body[4:10]
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            _check_pixels(width & 0x3FFF, height & 0x3FFF, max_pixels)
        elif kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            _check_pixels((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, max_pixels)
        elif kind != b"ALPH" and not (kind == b"ICCP" and _has_small_profile(chunks)):
            continue
        out += kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)
    return b"RIFF" + struct.pack("<I", len(out) + 4) + b"WEBP" + bytes(out)


def _has_small_profile(chunks: list[tuple[bytes, bytes]]) -> bool:
    profiles = [body for kind, body in chunks if kind == b"ICCP"]
    return len(profiles) == 1 and len(profiles[0]) <= _MAX_PROFILE


def _checked_pdf(content: bytes) -> bytes:
    end = content.rfind(b"%%EOF")
    if end < 0 or content[end + 5 :].strip(b"\r\n \t\0"):
        _damaged("PDF 结尾不完整或其后另有内容", "the PDF does not end as one, or something follows it")
    if _ZIP_END in content[-65_557:]:
        _damaged("文件同时是压缩包", "the file is an archive as well")
    if _PDF_ACTIVE.search(content):
        _damaged("PDF 含有脚本、程序或内嵌文件", "the PDF carries scripts, programs or files")
    return content


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if not width or not height:
        _damaged("图片没有尺寸", "the picture has no size")
    if max(width, height) > MAX_SIDE or max(width, height) > MAX_ASPECT * min(width, height):
        _too_large("图片边长或长宽比超限", f"a side is over {MAX_SIDE} pixels or {MAX_ASPECT} times the other")
    if width * height > max_pixels:
        _too_large(f"图片超过 {max_pixels} 像素", f"the picture has more than {max_pixels} pixels")


def _refusal(zh: str, en: str) -> Refusal:
    return Refusal("attachment-content", zh=zh, en=en, status_hint="unprocessable")


def _damaged(zh: str, en: str) -> NoReturn:
    raise _refusal(zh, en)


def _too_large(zh: str, en: str) -> NoReturn:
    raise Refusal("attachment-too-large", zh=zh, en=en, status_hint="too-large")
