"""Floor 8, the envelope: the documented dict dialect, so that any transport can carry it."""

from __future__ import annotations

from ._client import Client
from ._codec import Dialect, decode_request, decode_response, encode_request, encode_response
from ._dispatcher import Dispatcher
from ._messages import (
    AllocateVM,
    Failed,
    GetHealth,
    GetVMs,
    HealthResult,
    RemoveVM,
    Request,
    ResetVM,
    Response,
    Result,
    Succeeded,
    VMInfo,
    VMsResult,
)  # fmt: skip
from ._plain import plain_copy
from ._policy import Policy
from ._schema import json_schema

__all__ = [
    "AllocateVM", "Client", "Dialect", "Dispatcher", "Failed", "GetHealth", "GetVMs",
    "HealthResult", "Policy", "RemoveVM", "Request", "ResetVM", "Response", "Result",
    "Succeeded", "VMInfo", "VMsResult", "decode_request", "decode_response", "encode_request",
    "encode_response", "json_schema", "plain_copy",
]  # fmt: skip
