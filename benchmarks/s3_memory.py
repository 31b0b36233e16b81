"""As much of S3 as the engines of `object_store.py` use, in memory: answers within a fraction of a millisecond.

It takes every signature for right, and every request as one step that no other comes between.
"""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import hashlib
import secrets
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

Headers: TypeAlias = dict[str, str]
Answer: TypeAlias = tuple[int, Headers, bytes]
SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclasses.dataclass(frozen=True)
class Held:
    """An object."""

    body: bytes
    headers: Headers
    etag: str
    moment: float


class MemoryS3:
    """Buckets of objects; `answer` answers a request."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, Held]] = {}
        self._uploads: dict[str, tuple[Headers, dict[int, bytes]]] = {}

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Do what a request asks for."""
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path.lstrip("/")).partition("/")
        asked = {name: each[0] for name, each in parse_qs(query, keep_blank_values=True).items()}
        if not key:
            return self._about_bucket(method, bucket, asked, body)
        if bucket not in self._buckets:
            return _error(404, "NoSuchBucket")
        objects = self._buckets[bucket]
        lower = {name.lower(): value for name, value in headers.items()}
        if lower.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            body = _unchunked(body)
        if "uploads" in asked or "uploadId" in asked:
            return self._in_parts(method, objects, key, asked, lower, body)
        if method == "PUT":
            return _put(objects, key, lower, body)
        if method == "DELETE":
            objects.pop(key, None)
            return 204, {}, b""
        return _get(objects, key, lower, whole=method == "GET")

    def _about_bucket(self, method: str, bucket: str, asked: Mapping[str, str], body: bytes) -> Answer:
        if method == "PUT":
            self._buckets.setdefault(bucket, {})
            return 200, {}, b""
        if bucket not in self._buckets:
            return _error(404, "NoSuchBucket")
        objects = self._buckets[bucket]
        if method == "POST" and "delete" in asked:
            gone = [each.text or "" for each in ET.fromstring(body).iter() if each.tag.endswith("Key")]
            for key in gone:
                objects.pop(key, None)
            told = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in gone)
            return _xml("DeleteResult", told)
        if "location" in asked:
            return _xml("LocationConstraint", "us-east-1")
        return _listing(bucket, objects, asked) if method == "GET" else (200, {}, b"")

    def _in_parts(
        self,
        method: str,
        objects: dict[str, Held],
        key: str,
        asked: Mapping[str, str],
        headers: Headers,
        body: bytes,
    ) -> Answer:
        if "uploads" in asked:
            upload = secrets.token_hex(8)
            self._uploads[upload] = headers, {}
            return _xml(
                "InitiateMultipartUploadResult", f"<Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
            )
        if method == "PUT":
            self._uploads[asked["uploadId"]][1][int(asked["partNumber"])] = body
            return 200, {"ETag": _etag(body)}, b""
        begun, parts = self._uploads.pop(asked["uploadId"])
        if method == "DELETE":
            return 204, {}, b""
        conditions = {name: value for name, value in headers.items() if name.startswith("if-")}
        status, told, _ = _put(
            objects, key, begun | conditions, b"".join(parts[number] for number in sorted(parts))
        )
        if status != 200:
            return _error(status, "PreconditionFailed")
        return _xml("CompleteMultipartUploadResult", f"<Key>{escape(key)}</Key><ETag>{told['ETag']}</ETag>")


def _put(objects: dict[str, Held], key: str, headers: Headers, body: bytes) -> Answer:
    there = objects.get(key)
    if headers.get("if-none-match") == "*" and there is not None:
        return _error(412, "PreconditionFailed")
    if "if-match" in headers and (there is None or there.etag != headers["if-match"]):
        return _error(412, "PreconditionFailed")
    kept = {
        name: value
        for name, value in headers.items()
        if name.startswith("x-amz-meta-") or name == "content-type"
    }
    objects[key] = Held(body, kept, _etag(body), time.time())
    return 200, {"ETag": objects[key].etag}, b""


def _get(objects: dict[str, Held], key: str, headers: Headers, *, whole: bool) -> Answer:
    held = objects.get(key)
    if held is None:
        return _error(404, "NoSuchKey")
    if "if-match" in headers and headers["if-match"] != held.etag:
        return _error(412, "PreconditionFailed")
    told = {
        "Content-Type": "binary/octet-stream",
        **held.headers,
        "ETag": held.etag,
        "Last-Modified": email.utils.formatdate(held.moment, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Length": str(len(held.body)),
    }
    if not whole:
        return 200, told, b""
    if "range" not in headers:
        return 200, told, held.body
    first, _, last = headers["range"].removeprefix("bytes=").partition("-")
    size = len(held.body)
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size:
        return _error(416, "InvalidRange")
    told |= {"Content-Range": f"bytes {start}-{stop - 1}/{size}", "Content-Length": str(stop - start)}
    return 206, told, held.body[start:stop]


def _listing(bucket: str, objects: dict[str, Held], asked: Mapping[str, str]) -> Answer:
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    after = max(asked.get("start-after", ""), asked.get("continuation-token", ""))
    most = min(int(asked.get("max-keys", 1000)), 1000)

    def name(text: str) -> str:
        return quote(text) if asked.get("encoding-type") == "url" else escape(text)

    entries: dict[str, str] = {}
    more = False
    for key in sorted(each for each in objects if each.startswith(prefix)):
        inner, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        entry = f"{prefix}{inner}{delimiter}" if found else key
        if entry <= after or entry in entries:
            continue
        if len(entries) == most:
            more = True
            break
        entries[entry] = (
            f"<CommonPrefixes><Prefix>{name(entry)}</Prefix></CommonPrefixes>"
            if found
            else _entry(name(key), objects[key])
        )
    told = f"<Name>{bucket}</Name><Prefix>{name(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
    told += f"<KeyCount>{len(entries)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
    if more:
        told += f"<NextContinuationToken>{escape([*entries][-1])}</NextContinuationToken>"
    if asked.get("encoding-type") == "url":
        told += "<EncodingType>url</EncodingType>"
    return _xml("ListBucketResult", told + "".join(entries.values()))


def _entry(name: str, held: Held) -> str:
    moment = datetime.datetime.fromtimestamp(held.moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    size = f"<Size>{len(held.body)}</Size><StorageClass>STANDARD</StorageClass>"
    return f"<Contents><Key>{name}</Key><LastModified>{moment}</LastModified><ETag>{held.etag}</ETag>{size}</Contents>"


def _unchunked(body: bytes) -> bytes:
    """Take the data out of chunks that are signed one by one, or followed by a checksum."""
    pieces, place = [], 0
    while True:
        end = body.index(b"\r\n", place)
        size = int(body[place:end].partition(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + size])
        place = end + 2 + size + 2


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _xml(tag: str, inner: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{tag} {SPACE}>{inner}</{tag}>'
    return 200, {"Content-Type": "application/xml"}, text.encode()


def _error(status: int, code: str) -> Answer:
    text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return status, {"Content-Type": "application/xml"}, text.encode()
