"""A form with a file in it, taken apart. Synchronous: a whole upload may take a while."""

from __future__ import annotations

from typing import Any

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from echat_sdk.server.rest.refusal import Refusal

_MOST_FIELDS = 40
_MOST_BYTES = 8 * 2**10  # of one field
_BLOCK = 2**20


def fields_of(body: bytes, content_type: str) -> tuple[dict[str, str], bytes]:
    """The fields of a form by name, lists (`name[]`) with commas, and the file in `file`.

    Raises:
        Refusal: it is no such form.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refusal(400, "the body must be multipart/form-data with a file", code="invalid_form")
    fields: dict[str, str] = {}
    files: list[bytes] = []

    count = 0

    def take(field: Any) -> None:
        nonlocal count
        value = field.value or b""
        count += 1  # not len(fields): one name may come a million times
        if count > _MOST_FIELDS or len(value) > _MOST_BYTES:
            raise FormParserError("too much")
        name, told = _name(field), value.decode()
        is_more = name.endswith("[]") and name.removesuffix("[]") in fields
        name = name.removesuffix("[]")
        fields[name] = f"{fields[name]},{told}" if is_more else told

    def take_file(file: Any) -> None:
        if files or _name(file) != "file":
            raise FormParserError("too many files")
        file.file_object.seek(0)
        files.append(file.file_object.read())
        file.close()

    try:
        parser = python_multipart.FormParser(
            "multipart/form-data",
            take,
            take_file,
            boundary=options.get(b"boundary"),
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},  # what was said stays off the disk
        )
        for start in range(0, len(body), _BLOCK):
            parser.write(body[start : start + _BLOCK])
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise Refusal(
            400, "the form cannot be read; send one file, and short fields", code="invalid_form"
        ) from error
    if not files:
        raise Refusal(400, "there is no file in the form", param="file", code="missing_file")
    return fields, files[0]


def _name(part: Any) -> str:
    name: bytes = part.field_name or b""
    return name.decode()
