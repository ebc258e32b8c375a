"""The API's description, for machines."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.access.keys import Scope
from orchestrator.channels.definition import MAX_TARGETS

Schema = dict[str, Any]


def _string(**more: Any) -> Schema:
    return {"type": "string", **more}


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    return {"type": "object", "properties": properties, "required": required or list(properties)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_SCOPES = [scope.value for scope in Scope]
_INTEGER, _NUMBER, _BOOLEAN = {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
_FINAL_AND_NOT = ["queued", "inferring", "streaming", "done", "failed", "cancelled"]

_PUBLISHER_STATES = ["connecting", "on_air", "reconnecting", "closed"]
_SIDE = {"type": "integer", "minimum": 64, "maximum": 4096, "multipleOf": 2}
_DEFINITION: Schema = {
    "channel": _string(pattern="^[a-z0-9][a-z0-9_-]{0,31}$"),
    "avatar": _string(),
    "targets": {"type": "array", "items": _string(), "maxItems": MAX_TARGETS, "uniqueItems": True},
    "picture_size": {"anyOf": [{"type": "null"}, {"type": "array", "prefixItems": [_SIDE, _SIDE], "minItems": 2}]},
    "fade_frames": {"type": "integer", "minimum": 0, "maximum": 25},
    "video_bitrate_kbps": {"type": "integer", "minimum": 100, "maximum": 50_000},
    "x264_preset": _string(),
}

_SCHEMAS: Schema = {
    "Error": _object({"error": _object({"code": _string(), "message": _string()})}),
    "Accepted": _object({"status": _string(const="processing_started"), "task_id": _string()}),
    "Task": _object(
        {
            "task_id": _string(),
            "channel": _string(),
            "state": _string(enum=_FINAL_AND_NOT),
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "duration_s": _NUMBER,
            "num_inference_steps": _INTEGER,
            "guidance_scale": _NUMBER,
            "seed": _INTEGER,
            "attempts": _INTEGER,
            "frames": _object({"total": _INTEGER, "generated": _INTEGER, "played": _INTEGER}),
            "created_at": _string(format="date-time"),
            "timings_s": {"type": "object", "additionalProperties": _NUMBER},
            "error": {"anyOf": [{"type": "null"}, _object({"code": _string(), "message": _string()})]},
        }
    ),
    "ChannelDefinition": _object(_DEFINITION, required=["channel", "avatar"]),
    "ChannelChange": _object(_DEFINITION, required=[]),
    "Channel": _object(
        {
            **_DEFINITION,
            "state": _string(enum=["starting", "running", "restarting", "closed"]),
            "problem": {"type": ["string", "null"]},
            "restarts": _INTEGER,
            "playing": {"type": ["string", "null"]},
            "preparing": {"type": "array", "items": _string()},
            "waiting": _INTEGER,
            "preview": _string(),
            "preview_codecs": _string(),
            "stream": {"anyOf": [{"type": "null"}, _ref("Stream")]},
        }
    ),
    "Stream": _object(
        {
            "state": _string(enum=["idle", "fading_in", "speaking", "waiting", "fading_out"]),
            "publisher": _string(enum=_PUBLISHER_STATES),
            "targets": {"type": "array", "items": _ref("Target")},
            **dict.fromkeys(
                ("frames_sent", "late_waits", "late_frames", "repeated_frames", "dropped_pairs", "stalls"), _INTEGER
            ),
            **dict.fromkeys(("reconnects", "encoder_restarts", "preview_readers"), _INTEGER),
            **dict.fromkeys(("queue_s", "av_offset_s", "encoder_speed"), _NUMBER),
        }
    ),
    "Target": _object(
        {
            "target": _string(description="The address with its key masked"),
            "state": _string(enum=_PUBLISHER_STATES),
            "reconnects": _INTEGER,
            "dropped_packets": _INTEGER,
            "problem": {"type": ["string", "null"]},
        }
    ),
    "Avatar": _object(
        {
            "name": _string(),
            "width": _INTEGER,
            "height": _INTEGER,
            "frames": _INTEGER,
            "duration_s": _NUMBER,
            "face_resolution": _INTEGER,
            "loop": _string(enum=["cycle", "pingpong"]),
            "speakable_frames": _INTEGER,
            "idle_frames": {"type": ["integer", "null"]},
            "preview": _string(),
        }
    ),
    "AvatarTask": _object(
        {
            "task_id": _string(),
            "avatar": _string(),
            "state": _string(enum=["queued", "preparing", "done", "failed", "cancelled"]),
            "step": {"type": ["string", "null"]},
            "frames": _object({"done": _INTEGER, "total": {"type": ["integer", "null"]}}),
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "created_at": _string(format="date-time"),
            "error": {"anyOf": [{"type": "null"}, _object({"code": _string(), "message": _string()})]},
        }
    ),
    "AvatarForm": _object(
        {
            "video": _string(contentMediaType="application/octet-stream"),
            "idle": _string(contentMediaType="application/octet-stream"),
            "name": _string(pattern="^[a-z0-9][a-z0-9_-]{0,63}$"),
            "loop": _string(enum=["cycle", "pingpong"]),
            "max_height": {"type": "integer", "minimum": 64, "maximum": 4320},
            "face": _string(description="X,Y as shares of width and height"),
        },
        required=["video", "name"],
    ),
    "Session": _object({"key_required": _BOOLEAN, "scope": {"type": ["string", "null"], "enum": [*_SCOPES, None]}}),
    "Health": _object(
        {
            "status": _string(),
            "parts": {
                "type": "object",
                "additionalProperties": _object({"ready": _BOOLEAN, "message": _string()}),
            },
        }
    ),
    "SpeechForm": _object(
        {
            "audio_file": _string(contentMediaType="application/octet-stream"),
            "guidance_scale": {"type": "number", "minimum": 1},
            "num_inference_steps": {"type": "integer", "minimum": 1},
            "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            "channel": _string(),
        },
        required=["audio_file"],
    ),
}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(name: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)}}}


def _errors(*statuses: int) -> Schema:
    # Any request may lack a key, or be one too many.
    numbers = sorted({*statuses, 401, 403, 421, 429})
    return {str(status): {"$ref": "#/components/responses/Error"} for status in numbers}


def _path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": _string()}


def _get(summary: str, response: Schema, *errors: int, **more: Any) -> Schema:
    return {"get": {"summary": summary, "responses": {"200": response, **_errors(*errors)}, **more}}


def _media(media_type: str, description: str) -> Schema:
    return {"description": description, "content": {media_type: {}}}


def _submit(operation: str) -> Schema:
    return {
        "summary": "Say a speech",
        "operationId": operation,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _ref("SpeechForm")}}},
        "responses": {
            "200": _json(_ref("Accepted"), "The task is stored and will be said"),
            **_errors(400, 403, 404, 408, 413, 415, 422, 429, 503, 507),
        },
    }


_TASK_ID, _CHANNEL_ID = _path_parameter("task_id"), _path_parameter("channel_id")
_LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}}
_QUEUE = {"name": "queue", "in": "query", "schema": _string(enum=["true", "false"])}


def _list_of(name: str, item: Schema) -> Schema:
    return _object({name: {"type": "array", "items": item}})


_PATHS: Schema = {
    "/generate_video": {"post": _submit("generate_video")},
    "/v1/tasks": {
        "post": _submit("create_task"),
        **_get("The latest tasks", _json(_list_of("tasks", _ref("Task")), "Newest first"), 422, parameters=[_LIMIT]),
    },
    "/v1/tasks/{task_id}": {
        "parameters": [_TASK_ID],
        **_get("One task", _json(_ref("Task"), "The task"), 404),
        "delete": {
            "summary": "Cancel a task",
            "responses": {"200": _json(_ref("Task"), "The task, which is over"), **_errors(403, 404)},
        },
    },
    "/v1/tasks/{task_id}/events": {
        "parameters": [_TASK_ID],
        **_get("One task's changes", _media("text/event-stream", "Events named task, each with a Task"), 404),
    },
    "/v1/events": _get("All changes", _media("text/event-stream", "Events named task, avatar_task and channel")),
    "/v1/channels": {
        **_get("All channels", _json(_list_of("channels", _ref("Channel")), "The channels")),
        "post": {
            "summary": "Create a channel",
            "requestBody": _body("ChannelDefinition"),
            "responses": {
                "201": _json(_ref("Channel"), "The channel, starting"),
                **_errors(400, 403, 409, 408, 413, 422, 503, 507),
            },
        },
    },
    "/v1/channels/{channel_id}": {
        "parameters": [_CHANNEL_ID],
        **_get("One channel", _json(_ref("Channel"), "The channel"), 404),
        "patch": {
            "summary": "Change a channel",
            "requestBody": _body("ChannelChange"),
            "responses": {
                "200": _json(_ref("Channel"), "The channel"),
                **_errors(400, 403, 404, 409, 408, 413, 422, 503, 507),
            },
        },
        "delete": {
            "summary": "End a channel for good",
            "responses": {
                "200": _json(
                    _object({"removed": _string(), "cancelled": {"type": "array", "items": _string()}}),
                    "The channel's name and its cancelled tasks",
                ),
                **_errors(403, 404, 409),
            },
        },
    },
    "/v1/channels/{channel_id}/interrupt": {
        "parameters": [_CHANNEL_ID],
        "post": {
            "summary": "Cancel the present speech",
            "parameters": [_QUEUE],
            "responses": {
                "200": _json(_list_of("cancelled", _string()), "Ids of the cancelled tasks"),
                **_errors(403, 404),
            },
        },
    },
    "/v1/channels/{channel_id}/preview.mp4": {
        "parameters": [_CHANNEL_ID],
        **_get("The stream, live", _media("video/mp4", "Endless fragmented MP4"), 404, 503),
    },
    "/v1/avatars": {
        **_get("All avatars", _json(_list_of("avatars", _ref("Avatar")), "The avatars")),
        "post": {
            "summary": "Prepare an avatar from a video",
            "operationId": "create_avatar",
            "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _ref("AvatarForm")}}},
            "responses": {
                "202": _json(_ref("Accepted"), "The video is taken and will be prepared"),
                **_errors(400, 403, 409, 408, 413, 415, 422, 429, 503, 507),
            },
        },
    },
    "/v1/avatars/{name}": {
        "parameters": [_path_parameter("name")],
        "patch": {
            "summary": "Rename an avatar",
            "requestBody": {"content": {"application/json": {"schema": _object({"name": _string()})}}},
            "responses": {"200": _json(_ref("Avatar"), "The avatar"), **_errors(403, 404, 409, 408, 413, 422)},
        },
        "delete": {
            "summary": "Delete an avatar",
            "responses": {"204": {"description": "It is gone"}, **_errors(403, 404, 409, 422)},
        },
    },
    "/v1/avatar-tasks": _get(
        "Avatars in the making", _json(_list_of("avatar_tasks", _ref("AvatarTask")), "Newest first")
    ),
    "/v1/avatar-tasks/{task_id}": {
        "parameters": [_TASK_ID],
        **_get("One avatar in the making", _json(_ref("AvatarTask"), "The avatar task"), 404),
        "delete": {
            "summary": "Stop making an avatar",
            "responses": {"200": _json(_ref("AvatarTask"), "The avatar task, which is over"), **_errors(403, 404)},
        },
    },
    "/v1/avatars/{name}/preview.png": {
        "parameters": [_path_parameter("name")],
        **_get("An avatar's picture", _media("image/png", "The picture"), 404),
    },
    "/v1/session": {
        **_get("Is a key asked for, and what may mine do?", _json(_ref("Session"), "The caller's scope")),
        "post": {
            "summary": "Keep a key in a cookie, for the page",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _object({"key": _string()})}},
            },
            "responses": {"200": _json(_ref("Session"), "The key's scope"), **_errors(400, 401, 403, 408, 413)},
        },
        "delete": {
            "summary": "Forget the cookie",
            "responses": {"204": {"description": "It is forgotten"}, **_errors(403)},
        },
    },
    "/health/live": _get("Does the process answer?", _json({"type": "object"}, "It does")),
    "/health/ready": {
        "get": {
            "summary": "Would a speech be played?",
            "responses": {
                "200": _json(_ref("Health"), "It would"),
                "503": _json(_ref("Health"), "It would not; the parts say why"),
            },
        }
    },
    "/metrics": _get("Metrics", _media("text/plain", "Prometheus text format")),
}

DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "latentsync-realtime",
        "version": "1",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    },
    "paths": _PATHS,
    # Asked for by a server that others than this machine reach.
    "security": [{}, {"key": []}],
    "components": {
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        "schemas": _SCHEMAS,
        "responses": {"Error": _json(_ref("Error"), "What was wrong, and what to do")},
    },
}


async def document(request: Request) -> Response:
    """OpenAPI 3.1."""
    return JSONResponse(DOCUMENT)
