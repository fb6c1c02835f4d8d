"""Attachments: what they really are, what is taken out of them, and who may see them."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from running_service import GTIN, House, fresh_label, introduced
from suyuan.api.media import clean
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.errors import Refusal

PIXELS = 60_000_000
PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\nxref\n0 1\ntrailer\n<< /Root 1 0 R >>\nstartxref\n9\n%%EOF\n"
GPS = {1: "N", 2: (27.0, 54.0, 3.0), 3: "E", 4: (107.0, 34.0, 39.0)}


def picture(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """A picture in which every corner differs, so that turning it shows."""
    image = Image.new("L", size, 40)
    image.paste(200, (0, 0, size[0] // 2, size[1] // 2))
    return image.convert(mode)


def encoded(form: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or picture()).save(out, form, **options)
    return out.getvalue()


def with_place_and_camera(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "SecretCamera", "Model 9", orientation
    exif.get_ifd(0x8825).update(GPS)
    return exif


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def upload(house: House, content: bytes, kind: str = "image/jpeg") -> httpx.Response:
    headers = {**house.cooperative.headers, "Content-Type": kind}
    return house.http.post("/api/v1/attachments", content=content, headers=headers)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_place_and_camera_are_gone_and_the_pixels_are_not_touched(form: str) -> None:
    original = encoded(form, exif=with_place_and_camera())
    assert b"SecretCamera" in original
    cleaned = clean(original, PIXELS).content
    for trace in (b"SecretCamera", b"Exif", b"EXIF", b"eXIf"):
        assert trace not in cleaned
    assert not opened(cleaned).getexif()
    assert opened(cleaned).tobytes() == opened(original).tobytes()


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_a_turned_photo_is_stored_upright(form: str) -> None:
    cleaned = clean(encoded(form, exif=with_place_and_camera(orientation=6)), PIXELS).content
    image = opened(cleaned)
    assert image.size == (48, 64)
    assert not image.getexif()
    assert b"SecretCamera" not in cleaned
    # A quarter turn clockwise brings the light corner to the top right.
    assert image.convert("L").getpixel((40, 5)) > 150 > image.convert("L").getpixel((5, 5))


def test_comments_thumbnails_and_xmp_do_not_survive() -> None:
    xmp = b"<x:xmpmeta>village house number</x:xmpmeta>"
    cleaned = clean(encoded("JPEG", comment=b"taken by Wang", xmp=xmp), PIXELS).content
    assert b"Wang" not in cleaned and b"village" not in cleaned
    text = encoded("PNG")
    chunk = b"tEXtAuthor\0Wang"
    text = text[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + text[33:]
    assert b"Wang" not in clean(text, PIXELS).content


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 30}, {"subsampling": 0}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_kind_of_jpeg_keeps_its_pixels(options: dict[str, Any], mode: str) -> None:
    original = encoded("JPEG", picture((201, 77), mode), **options)
    assert opened(clean(original, PIXELS).content).tobytes() == opened(original).tobytes()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_what_hides_behind_a_picture_is_left_out(form: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("evil.html", "<script>alert(1)</script>")
    cleaned = clean(encoded(form) + archive.getvalue(), PIXELS).content
    assert not zipfile.is_zipfile(io.BytesIO(cleaned))
    assert cleaned == clean(encoded(form), PIXELS).content


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_cleaning_what_is_clean_changes_nothing(form: str) -> None:
    once = clean(encoded(form, exif=with_place_and_camera()), PIXELS)
    assert clean(once.content, PIXELS) == once


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" * (width // 8 + 1)
    packed = zlib.compress(row * min(height, 2000), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (huge_png(20_000, 20_000), "attachment-too-large"),
        (huge_png(15_000, 10), "attachment-too-large"),
        (huge_png(60_000, 60_000), "attachment-too-large"),
        (huge_png(7_500, 7_500), "attachment-too-large"),
        (huge_png(0, 5), "attachment-content"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "attachment-type"),
        (b"<html><script>1</script></html>", "attachment-type"),
        (b"GIF89a" + b"\0" * 40, "attachment-type"),
        (b"PK\x03\x04" + b"\0" * 40, "attachment-type"),
        (b"", "attachment-type"),
        (b"\n" + PDF, "attachment-type"),
        (PDF[:-6], "attachment-content"),
        (PDF + b"<script>", "attachment-content"),
        (PDF.replace(b"/Type /Catalog", b"/OpenAction << /JavaScript (1) >>"), "attachment-content"),
        (encoded("JPEG")[:-40], "attachment-content"),
        (encoded("PNG")[:-20], "attachment-content"),
        (b"\xff\xd8\xff\xd9", "attachment-content"),
        (b"\xff\xd8\xff\xe0", "attachment-content"),
        (encoded("PNG").replace(b"IDAT", b"IDAX"), "attachment-content"),
        (encoded("WEBP", save_all=True, append_images=[picture().rotate(180)]), "attachment-content"),
    ],
)
def test_what_is_no_plain_picture_or_document_is_refused(content: bytes, rule: str) -> None:
    with pytest.raises(Refusal) as refused:
        clean(content, PIXELS)
    assert refused.value.rule == rule


def test_an_animated_png_becomes_its_first_picture() -> None:
    moving = encoded("PNG", save_all=True, append_images=[picture().rotate(180)])
    assert b"acTL" in moving
    still = clean(moving, PIXELS).content
    assert b"acTL" not in still and b"fdAT" not in still


@settings(max_examples=300)
@given(
    original=st.sampled_from([encoded("JPEG"), encoded("PNG"), encoded("WEBP"), PDF]),
    cuts=st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=3)), max_size=4),
)
def test_damaged_files_are_cleaned_or_refused_and_never_fail(original: bytes, cuts: list[tuple[int, bytes]]) -> None:
    content = bytearray(original)
    for place, patch in cuts:
        at = place % len(content)
        content[at : at + len(patch)] = patch
    try:
        cleaned = clean(bytes(content), PIXELS)
    except Refusal:
        return
    assert clean(cleaned.content, PIXELS).media_type == cleaned.media_type


def test_an_attachment_is_named_by_the_hash_of_what_is_kept(house: House) -> None:
    answer = upload(house, encoded("JPEG", picture((70, 50)), exif=with_place_and_camera()), "image/png")
    assert answer.status_code == 201
    named = answer.json()
    assert named["mediaType"] == "image/jpeg"
    kept = house.http.get(named["url"], headers=house.cooperative.headers)
    assert kept.status_code == 200
    assert named["hash"] == "ni:///sha-256;" + base64url_text(hashlib.sha256(kept.content).digest())
    assert named["bytes"] == len(kept.content)
    assert b"SecretCamera" not in kept.content
    assert upload(house, encoded("JPEG", picture((70, 50)))).status_code == 200


def test_nobody_sees_an_attachment_before_an_event_names_it(house: House) -> None:
    named = upload(house, encoded("PNG", picture((33, 21)))).json()
    for headers in ({}, house.service.registrar_headers):
        hidden = house.http.get(named["url"], headers=headers)
        unknown = house.http.get("/attachments/" + "A" * 43, headers=headers)
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.json() == unknown.json()
    assert "no-store" in house.http.get(named["url"], headers=house.cooperative.headers).headers["cache-control"]
    attachment = {name: named[name] for name in ("hash", "mediaType", "bytes")}
    lot = f"/01/{GTIN}/10/{fresh_label()}"
    assert house.record(introduced(lot, attachments=[attachment])).status_code == 201
    shown = house.http.get(named["url"])
    assert shown.status_code == 200
    assert "immutable" in shown.headers["cache-control"]
    assert "sandbox" in shown.headers["content-security-policy"]
    assert shown.headers["x-content-type-options"] == "nosniff"
    again = house.http.get(named["url"], headers={"If-None-Match": shown.headers["etag"]})
    assert again.status_code == 304


def test_a_document_is_offered_as_a_download(house: House) -> None:
    named = upload(house, PDF, "application/pdf").json()
    shown = house.http.get(named["url"], headers=house.cooperative.headers)
    assert shown.content == PDF
    assert shown.headers["content-type"] == "application/pdf"
    assert shown.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("make", [lambda: b"x" * 20_000_001, lambda: encoded("JPEG") + b"\0" * 20_000_000])
def test_an_upload_beyond_twenty_megabytes_is_refused(house: House, make: Callable[[], bytes]) -> None:
    assert upload(house, make()).status_code == 413


def test_uploads_are_files_that_only_the_service_reads(house: House) -> None:
    upload(house, encoded("PNG", picture((41, 21))))
    for path in (house.service.settings.data_dir / "attachments").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
