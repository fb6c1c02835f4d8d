"""Attachments: photos and documents that events name by the hash of their cleaned bytes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..answers import AttachmentDocument, body_of, media, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ServicesDep
from ..json_answers import json_response
from ..problems import HttpRefusal

router = APIRouter(tags=["附件 attachments"])

_TYPES = ("image/jpeg", "image/png", "image/webp", "application/pdf")
_ACCEPTED = (*_TYPES, "application/octet-stream")
_BINARY = {"type": "string", "format": "binary"}
_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "application/pdf": "pdf"}


@router.post(
    "/api/v1/attachments",
    summary="上传照片或报告 / Upload a photo or report",
    description=(
        "The raw bytes as the body. What they are is told by their content. Metadata of pictures (place, camera, time) "
        "is removed before hashing, so hash and length may differ from what was sent: put the answer's `hash`, "
        "`mediaType` and `bytes` into the record. Nobody else sees an attachment before an event names it."
    ),
    status_code=201,
    response_model=AttachmentDocument,
    responses={
        200: {"model": AttachmentDocument, "description": "以前上传过 / uploaded before"},
        **problems(401, 409, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=body_of(dict.fromkeys(_TYPES, _BINARY), "文件内容 / the file"),
)
async def upload(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    require_media_type(request, _ACCEPTED)
    if services.large_bodies.locked():
        raise HttpRefusal(
            503,
            "busy",
            zh="正在处理的上传过多，请稍后重试",
            en="too many uploads are under way; try again shortly",
            headers={"Retry-After": "2"},
        )
    settings = services.settings
    async with services.large_bodies:
        content = await read_body(request, settings.max_attachment_body, settings.body_timeout)
        stored = await run_in_threadpool(services.attachments.add, content, caller.actor)
    document = {"hash": stored.hash, "mediaType": stored.media_type, "bytes": stored.bytes, "url": stored.path}
    return json_response(document, 201 if stored.is_new else 200, headers={"Location": stored.path})


@router.get(
    "/attachments/{name}",
    summary="附件内容 / The bytes of an attachment",
    description="`name` is the base64url part of its `ni:///sha-256;` hash.",
    response_class=Response,
    responses={
        200: media("内容 / the bytes", dict.fromkeys(_TYPES, _BINARY)),
        **problems(404, 429, 503),
    },
)
def download(
    request: Request, services: ServicesDep, name: Annotated[str, Path(description="base64url SHA-256")]
) -> Response:
    caller = getattr(request.state, "caller", None)
    file, public = services.attachments.read(name, caller.actor if caller else None)
    shown = "attachment" if file.media_type == "application/pdf" else "inline"
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if public else "private, no-store",
        "ETag": f'"{name}"',
        "Content-Disposition": f'{shown}; filename="{name[:16]}.{_EXTENSIONS.get(file.media_type, "bin")}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if public and f'"{name}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, 200, headers, file.media_type)
