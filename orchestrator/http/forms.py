"""An upload form, parsed while it arrives: fields in memory, files handed on block by block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from orchestrator.http.arriving import arriving
from orchestrator.http.errors import ApiError
from orchestrator.settings import Settings
from speech.audio.errors import TooLarge

AUDIO_FIELD = "audio_file"
_MAX_FIELD_BYTES = 8192
_MAX_PARTS = 32


class UploadForm:
    """A multipart form with files in named fields, and text fields before, between or after them."""

    def __init__(
        self,
        request: Request,
        max_bytes: int,
        settings: Settings,
        required: str,
        optional: tuple[str, ...] = (),
        example: str = "a.mp4",
    ) -> None:
        """`required` and `optional` name the file fields; `max_bytes` bounds the whole request, `settings` its time.

        Raises ApiError for a request that is no multipart form.
        """
        self._required = required
        self._file_fields = (required, *optional)
        self._hint = f"curl -F {required}=@{example}"
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise ApiError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "not_a_form",
                f"Send a multipart form with the file in {required}: {self._hint}",
            )
        self.fields: dict[str, str] = {}
        self.file_names: dict[str, str] = {}
        self._max_bytes = max_bytes
        self._limit_s = settings.upload_timeout_s
        self._least_bytes_per_s = settings.upload_least_bytes_per_s
        self._request = request
        self._parser = _parser(boundary, self)
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._text = bytearray()
        self._blocks: list[tuple[str, bytes]] = []
        self._parts: list[str] = []
        self._complete = False

    async def file_blocks(self) -> AsyncIterator[tuple[str, bytes]]:
        """The files' bytes, each block with its field's name; after the last one `fields` holds all text fields.

        `file_names` holds the names that the client gave its files: texts that anybody may have written, never paths.

        Raises ApiError for a broken form and for one without the file, `TooLarge` as soon as the limit is passed.
        """
        try:
            size = 0
            async for data in arriving(self._request, self._limit_s, self._least_bytes_per_s):
                size += len(data)
                if size > self._max_bytes:
                    raise TooLarge(f"The request is larger than {self._max_bytes / 1e6:g} MB. Send a shorter file.")
                self._parser.write(data)
                for block in self._blocks:
                    yield block
                self._blocks.clear()
            self._parser.finalize()
        except FormParserError:
            raise _broken() from None
        if not self._complete:
            raise _broken()
        for field in self._file_fields:
            count = self._parts.count(f"{field} (file)")
            if count > 1 or field in self.fields or (count == 0 and field == self._required):
                raise self._wrong_file(field, count)

    def _wrong_file(self, field: str, count: int) -> ApiError:
        if field in self.fields:
            message = f"{field} is text and must be a file: put @ before the file's name, {self._hint}"
        elif count > 1:
            message = f"The form has more than one {field}; send one file a task."
        else:
            sent = ", ".join(self._parts) or "nothing"
            message = f"The form has no file field {field}; it has {sent}. Example: {self._hint}"
        return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{self._required}_missing", message)

    def on_part_begin(self) -> None:
        self._disposition = b""
        self._text = bytearray()
        if len(self._parts) >= _MAX_PARTS:
            raise ApiError(HTTPStatus.BAD_REQUEST, "form_too_large", f"The form has more than {_MAX_PARTS} fields.")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")[:64]
        self._is_file = b"filename" in options
        if self._is_file and self._name in self._file_fields:
            # Browsers and curl write a quotation mark of the name as %22.
            self.file_names[self._name] = options[b"filename"].decode(errors="replace").replace("%22", '"')
        self._parts.append(f"{self._name} (file)" if self._is_file else self._name)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            if self._name in self._file_fields:
                self._blocks.append((self._name, data[start:end]))
            # A file in an unknown field is skipped; the size of the whole request is limited anyway.
            return
        if len(self._text) + end - start > _MAX_FIELD_BYTES:
            message = f"Field {self._name!r} is longer than {_MAX_FIELD_BYTES} bytes."
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "field_too_long", message)
        self._text += data[start:end]

    def on_part_end(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._text.decode(errors="replace")

    def on_end(self) -> None:
        self._complete = True


class SpeechUpload(UploadForm):
    """The form of a speech: one file, `audio_file`, and text fields."""

    @property
    def audio_name(self) -> str:
        """The name that the client gave the audio file."""
        return self.file_names.get(AUDIO_FIELD, "")

    def __init__(self, request: Request, max_bytes: int, settings: Settings) -> None:
        super().__init__(request, max_bytes, settings, AUDIO_FIELD, example="speech.wav")

    async def audio_blocks(self) -> AsyncIterator[bytes]:
        """The audio file's bytes; raises what `file_blocks` does."""
        async for _, block in self.file_blocks():
            yield block


def _parser(boundary: bytes, form: UploadForm) -> MultipartParser:
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_part_end": form.on_part_end,
                "on_end": form.on_end,
            },
        )
    except FormParserError:
        raise _broken() from None


def _broken() -> ApiError:
    return ApiError(
        HTTPStatus.BAD_REQUEST, "broken_form", "The multipart form is broken or ends too early. Send it again."
    )
