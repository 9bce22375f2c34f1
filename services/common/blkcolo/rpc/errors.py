"""Domain errors to gRPC statuses and back: the one border for both.

Every status carries an ErrorInfo whose reason is the name of a `Reason` (AIP-193).
Only UNAVAILABLE and RESOURCE_EXHAUSTED may be tried again without asking anybody.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from blkcolo.errors import (
    BlkcoloError,
    DataLoss,
    DeadlineMissed,
    Exhausted,
    Invalid,
    Reason,
    Refused,
    StaleGeneration,
    Unavailable,
)
from blkcolo.rpc.wrapping import Wrapper, WrappingInterceptor
from blkcolo.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blkcolo.rpc.context import Context

_log = structlog.get_logger(__name__)

_DOMAIN = "blkcolo"
_CODES: list[tuple[type[BlkcoloError], grpc.StatusCode]] = [
    (Refused, grpc.StatusCode.FAILED_PRECONDITION),
    (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (DeadlineMissed, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Exhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DataLoss, grpc.StatusCode.DATA_LOSS),
]
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_REASONS = frozenset(reason.value for reason in Reason)
#: gRPC's words for a connection that was made, and then closed by the other side.
_HUNG_UP = ("Socket closed", "reset by peer", "Broken pipe", "GOAWAY", "Stream removed")
#: Its words for a call that broke on this side, or in between: no callee answered.
_BROKE = ("Internal error from Core", "RST_STREAM")
_BY_REASON = {
    Reason.WRONG_GROUP: grpc.StatusCode.NOT_FOUND,
    Reason.GROUP_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.EPOCH_GAP: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
}


def code_of(error: BlkcoloError) -> grpc.StatusCode:
    """The status code of an error."""
    if error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.INTERNAL


def status_of(error: BlkcoloError) -> status_pb2.Status:
    """The whole status of an error, ErrorInfo included."""
    fields = {
        "volume": error.volume,
        "offset": str(error.offset) if error.volume else "",
        "epoch": str(error.epoch) if error.epoch else "",
        "errno": str(error.errno) if error.errno else "",
    }
    info = error_details_pb2.ErrorInfo(
        reason=error.reason.name,
        domain=_DOMAIN,
        metadata={key: value for key, value in fields.items() if value},
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    number = code_of(error).value[0]
    return status_pb2.Status(code=number, message=error.message, details=[detail])


async def abort(context: Context, error: BlkcoloError) -> NoReturn:
    """Ends a call with the status of an error."""
    status = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


def to_domain(error: grpc.aio.AioRpcError, peer: str) -> BlkcoloError:
    """The domain error that a failed call stands for; `peer` names the callee."""
    info, message = _error_info(error), error.details() or error.code().name
    if info is not None and info.reason in Reason.__members__:
        kind = _kind_of(error.code(), Reason[info.reason])
        meta = info.metadata
        return kind(
            Reason[info.reason],
            message,
            meta.get("volume", ""),
            int(meta.get("offset", 0)),
            int(meta.get("epoch", 0)),
            int(meta.get("errno", 0)),
        )
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineMissed(
            Reason.DEADLINE, f"{peer} did not answer in time; look at it, ask again"
        )
    if _unanswered(error.code(), message):
        return Unavailable(
            Reason.PEER_UNREACHABLE,
            f"{peer} cannot be reached ({message}); {_advice(message)}",
        )
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Invalid(
            Reason.INVALID,
            f"{peer} does not know this call: another service, or another version;"
            " check the address",
        )
    return BlkcoloError(
        Reason.INTERNAL, f"{peer} answered {error.code().name}: {message}"
    )


def _unanswered(code: grpc.StatusCode, message: str) -> bool:
    """True if nobody answered: of a status that carries no ErrorInfo.

    A message that is being sent while the peer dies fails as INTERNAL in gRPC's core;
    an INTERNAL that a peer answers has its ErrorInfo, or other words.
    """
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return True
    broken = code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    return broken and any(words in message for words in _BROKE)


def _advice(message: str) -> str:
    """What to look at; gRPC says no more of a server that hung up than that it did."""
    if "handshake" in message:
        return "compare the certificates of both (blkcolo certs show)"
    if any(sign in message for sign in _HUNG_UP):
        return (
            "check that it runs and the address; if it runs, TLS may be the cause: it"
            " refuses your certificate (blkcolo certs show FILE), or one of you speaks"
            " plain text; its log says why"
        )
    return "check that it runs and the address"


def _error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    metadata = dict(error.trailing_metadata() or ())
    raw = metadata.get("grpc-status-details-bin")
    if not isinstance(raw, bytes):
        return None
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(raw).details:
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return info
    return None


def _kind_of(code: grpc.StatusCode, reason: Reason) -> type[BlkcoloError]:
    if reason is Reason.STALE_GENERATION:
        return StaleGeneration
    for kind, its_code in _CODES:
        if code is its_code:
            return kind
    if reason is Reason.NOT_PERMITTED:
        return Refused
    return Invalid if reason is Reason.WRONG_GROUP else BlkcoloError


def failure_message(error: BlkcoloError) -> types_pb2.Failure:
    """An error as a status reports it."""
    return types_pb2.Failure(
        reason=cast("types_pb2.Reason.ValueType", int(error.reason)),
        message=error.message,
        volume=error.volume,
        offset=error.offset,
        epoch=error.epoch,
        errno=error.errno,
    )


def failure_from(message: types_pb2.Failure) -> BlkcoloError:
    """A reported error; its class follows from its reason."""
    reason = _reason(message)
    kind: type[BlkcoloError] = DataLoss
    if reason is Reason.DISK_FULL:
        kind = Exhausted
    elif reason in (Reason.CONTENTS_DIFFER, Reason.VOLUME_MISMATCH):
        kind = Refused
    return kind(
        reason,
        message.message,
        message.volume,
        message.offset,
        message.epoch,
        message.errno,
    )


def call_error(error: BlkcoloError) -> types_pb2.CallError:
    """An error as the answer to one of several calls."""
    return types_pb2.CallError(
        code=code_of(error).value[0], failure=failure_message(error)
    )


def from_call_error(message: types_pb2.CallError) -> BlkcoloError:
    """The error that `call_error` made the message of."""
    reason, failure = _reason(message.failure), message.failure
    code = _BY_NUMBER.get(message.code, grpc.StatusCode.UNKNOWN)
    kind = _kind_of(code, reason)
    return kind(
        reason,
        failure.message,
        failure.volume,
        failure.offset,
        failure.epoch,
        failure.errno,
    )


def _reason(message: types_pb2.Failure) -> Reason:
    return Reason(message.reason) if message.reason in _REASONS else Reason.INTERNAL


def expected(error: Exception, method: str) -> BlkcoloError:
    """What a method raised, as what its caller is told; a program error is logged."""
    if isinstance(error, BlkcoloError):
        return error
    _log.exception("program error", method=method, exc_info=error)
    return BlkcoloError(
        Reason.INTERNAL, f"{method}: program error; see this service's log"
    )


class _Garbage(NamedTuple):
    """Stands for a request that is no message of its type."""

    text: str


def _lenient(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Never raises: gRPC would end a stream there without an error."""

    def attempt(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError as error:
            return _Garbage(str(error))

    return attempt


def _checked(request: Any) -> Any:
    """The request, or the stream of them; raises Invalid for garbage."""
    if isinstance(request, _Garbage):
        raise Invalid(
            Reason.INVALID, f"{request.text}; run the same version everywhere"
        )
    return _checked_stream(request) if hasattr(request, "__aiter__") else request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)


class DomainErrors(WrappingInterceptor):
    """Answers raised domain errors with their status, on every kind of RPC."""

    def __init__(self, on_error: Callable[[str, Reason], None]) -> None:
        """Takes what counts errors by method and reason."""
        self._on_error = on_error

    def wrapper_of(self, method: str) -> Wrapper | None:
        """One for each method of this system."""
        ours = method.startswith("/blkcolo.")
        return _Border(method, self._on_error) if ours else None


class _Border(Wrapper):
    """Where what a method raises becomes a status."""

    def __init__(self, method: str, on_error: Callable[[str, Reason], None]) -> None:
        self._method = method
        self._on_error = on_error

    def decoder(self, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        return _lenient(decode)

    def incoming(self, request: Any) -> Any:
        return _checked(request)

    @asynccontextmanager
    async def around(self, context: Context) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the border to the wire
            await self._abort(error, context)

    async def _abort(self, error: Exception, context: Context) -> None:
        told = expected(error, self._method)
        self._on_error(self._method, told.reason)
        await abort(context, told)
