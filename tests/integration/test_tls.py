"""A pair and its coordinator over mutual TLS, with certificates right and wrong."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from blkcolo.security.authorization import PeerRole
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import coordinator_pb2_grpc as rpc
from tests.lab import Lab
from tests.stack import MIB, PROTECTED, Stack, running, wait_until
from tests.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

SIZE = 8 * MIB


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("lab") / "ours")
    for role in PeerRole:
        lab.issue(role.value)
    lab.issue("both", PeerRole.OBSERVER)
    lab.issue_expired("expired", PeerRole.OPERATOR)
    lab.issue_expired("expired-nbd", PeerRole.NBD)
    return lab


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Another CA's."""
    lab = Lab(tmp_path_factory.mktemp("lab") / "theirs")
    lab.issue("operator")
    lab.issue("nbd")
    return lab


@pytest.fixture(scope="module")
def stack(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("tls")
    with running(folder, sizes=(SIZE,), lab=lab) as stack:
        yield stack


def list_groups(channel: grpc.Channel) -> Any:
    stub: Any = rpc.CoordinatorServiceStub(channel)
    return stub.ListGroups(pb.ListGroupsRequest(), timeout=10)


def failure(channel: grpc.Channel) -> grpc.RpcError:
    with channel, pytest.raises(grpc.RpcError) as caught:
        list_groups(channel)
    return caught.value


# gRPC.


def test_reflection_health_and_checkpoint_by_grpcurl_with_certificates(
    stack: Stack, lab: Lab
) -> None:
    where = stack.address("coordinator")
    assert "CoordinatorService" in run("grpcurl", *lab.curl("operator"), where, "list")
    health = ("-d", "{}", where, "grpc.health.v1.Health/Check")
    assert "SERVING" in run("grpcurl", *lab.curl("observer"), *health)
    call = ("-d", '{"group": "vm1"}', where, "blkcolo.v1.CoordinatorService/Checkpoint")
    assert "epoch" in run("grpcurl", *lab.curl("operator"), *call)
    denied = run("grpcurl", *lab.curl("observer"), *call, check=False)
    assert "PermissionDenied" in denied
    assert "NOT_PERMITTED" in denied


def test_no_certificate_a_foreign_one_and_an_expired_one_are_refused(
    stack: Stack, lab: Lab, foreign: Lab
) -> None:
    where = stack.address("coordinator")
    ca, *_ = lab.pem("operator")
    for key, cert in (
        (None, None),
        foreign.pem("operator")[1:],
        lab.pem("expired")[1:],
    ):
        credentials = grpc.ssl_channel_credentials(ca, key, cert)
        error = failure(grpc.secure_channel(where, credentials))
        assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_the_command_line_says_that_tls_may_be_why_a_server_hangs_up(
    stack: Stack, lab: Lab, foreign: Lab
) -> None:
    where = ("--coordinator", stack.address("coordinator"))
    both = lab.folder / "both.pem"  # the client trusts the server, not the other way
    both.write_bytes(lab.ca.read_bytes() + foreign.ca.read_bytes())
    shown = ("--ca", str(both), "--cert", str(foreign.cert("operator")))
    for options in ((*shown, "--key", str(foreign.key("operator"))), ()):
        command = (sys.executable, "-m", "blkcolo_cli", "status", *where, *options)
        output = run(*command, check=False)
        assert "TLS may be the cause" in output
        assert "blkcolo certs show FILE" in output


def test_a_client_refuses_a_server_of_another_ca(stack: Stack, foreign: Lab) -> None:
    error = failure(foreign.channel(stack.address("coordinator"), "operator"))
    assert "handshake failed" in str(error.details())


def test_plain_text_is_refused_by_every_grpc_server(stack: Stack) -> None:
    for name in ("primary", "secondary", "coordinator"):
        command = ("grpcurl", "-plaintext", "-connect-timeout", "1")
        output = run(*command, stack.address(name), "list", check=False)
        assert "Failed" in output, name


@pytest.mark.parametrize("name", ["primary", "secondary", "coordinator"])
def test_grpc_takes_tls_1_2_and_refuses_1_1(stack: Stack, lab: Lab, name: str) -> None:
    with secured(connect(stack.grpc[name]), lab) as connection:
        assert connection.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        secured(connect(stack.grpc[name]), lab, ssl.TLSVersion.TLSv1_1)
    wait_until(lambda: "UNSUPPORTED_PROTOCOL" in stack.log(name), "logged why")


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def secured(
    plain: socket.socket, lab: Lab, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ssl.SSLSocket:
    """Shakes hands in this version only, as the role nbd."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(lab.ca)
    context.load_cert_chain(lab.cert("nbd"), lab.key("nbd"))
    context.set_ciphers("ALL:@SECLEVEL=0")  # old versions need it
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    try:
        return context.wrap_socket(plain, server_hostname="127.0.0.1")
    except OSError:
        plain.close()
        raise


def test_denied_calls_carry_a_reason_are_logged_and_counted(
    stack: Stack, lab: Lab
) -> None:
    with lab.channel(stack.address("coordinator"), "node") as channel:
        assert list_groups(channel).groups[0].spec.name == "vm1"
        stub: Any = rpc.CoordinatorServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Failover(pb.FailoverRequest(group="vm1"), timeout=5)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    raw = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(raw).details[0].Unpack(info)
    assert (info.reason, info.domain) == ("NOT_PERMITTED", "blkcolo")
    assert "coordinator, operator" in error.details()
    assert '"call denied"' in stack.log("coordinator")
    counted = 'blkcolo_denied_total{method="Failover",roles="node"} 1.0'
    assert counted in stack.scrape("coordinator")
    assert stack.group().state == PROTECTED


def test_a_primary_may_forward_and_not_commit(stack: Stack, lab: Lab) -> None:
    service = "blkcolo.v1.SecondaryService"
    where = stack.address("secondary")
    for role, method, words in (
        ("node", "DoCheckpoint", "PermissionDenied"),
        ("node", "StopReplication", "PermissionDenied"),
        ("observer", "DoCheckpoint", "PermissionDenied"),
        ("nbd", "GetStatus", "PermissionDenied"),
        ("operator", "WriteForward", "PermissionDenied"),
        ("node", "WriteForward", ""),
        ("observer", "GetStatus", "committed_epoch"),
    ):
        message = '{"hello": {}}' if method == "WriteForward" else '{"group": "vm1"}'
        output = run(
            *("grpcurl", *lab.curl(role), "-d", message),
            *("-max-time", "5", where, f"{service}/{method}"),
            check=False,
        )
        assert words in output, (role, method, output)
        assert words or "PermissionDenied" not in output, output


def test_the_command_line_takes_certificates_from_options_or_environment(
    stack: Stack, lab: Lab
) -> None:
    where = ("--coordinator", stack.address("coordinator"))
    options = (
        *("--ca", str(lab.ca), "--cert", str(lab.cert("operator"))),
        *("--key", str(lab.key("operator"))),
    )
    assert "committed" in run("blkcolo", "checkpoint", *where, *options)
    assert "missing" in run("blkcolo", "status", *where, *options[:4], check=False)
    plain = run("blkcolo", "status", *where, check=False)
    assert "cannot be reached" in plain
    observer = [option.replace("operator", "observer") for option in options]
    denied = run("blkcolo", "checkpoint", *where, *observer, check=False)
    assert "is for the roles: coordinator, operator" in denied


def test_expiry_is_a_metric_on_every_service(stack: Stack) -> None:
    for name in ("primary", "secondary", "coordinator"):
        scraped = stack.scrape(name)
        assert 'blkcolo_certificate_expiry_timestamp_seconds{certificate="own"}' in (
            scraped
        )
        assert "blkcolo_insecure 0.0" in scraped


# NBD.


def test_nbdinfo_and_qemu_work_over_tls_and_fail_without_a_certificate(
    stack: Stack, lab: Lab, tmp_path: Path
) -> None:
    uri = stack.uri("primary")
    assert '"TLS": true' in run("nbdinfo", "--json", uri)
    assert stack.group().primary.nbd_uris == [uri.partition("?")[0]]
    plain = uri.replace("nbds:", "nbd:").partition("?")[0]
    assert "TLS" in run("nbdinfo", plain, check=False)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "ca-cert.pem").write_bytes(lab.ca.read_bytes())
    nobody = uri.partition("?")[0] + f"?tls-certificates={bare}"
    assert "nbdinfo:" in run("nbdinfo", nobody, check=False)

    image = tmp_path / "image"
    image.write_bytes(os.urandom(SIZE))
    qemu = (
        *("--object", "tls-creds-x509,id=tls0,endpoint=client,dir="),
        *(
            "--image-opts",
            "driver=nbd,host=127.0.0.1,export=disk0,tls-creds=tls0,port=",
        ),
    )
    creds = qemu[1] + str(lab.client_folder("nbd"))
    target = qemu[3] + str(stack.nbd["primary"])
    run(
        *("qemu-img", "convert", "--object", creds, "-n", "-f", "raw"),
        *("--target-image-opts", str(image), target),
    )
    output = run("qemu-img", "info", "--object", creds, "--image-opts", target)
    assert "8 MiB" in output
    stack.checkpoint()
    assert stack.image("primary").read_bytes() == image.read_bytes()
    copy = tmp_path / "copy"
    run("nbdcopy", stack.uri("secondary"), str(copy))
    assert copy.read_bytes() == image.read_bytes()


@pytest.mark.parametrize(
    ("holder", "logged"),
    [("observer", '"NBD client denied"'), ("expired-nbd", "certificate has expired")],
)
def test_nbd_refuses_other_roles_and_expired_certificates(
    stack: Stack, lab: Lab, holder: str, logged: str
) -> None:
    folder = lab.client_folder(holder)
    uri = stack.uri("primary").partition("?")[0] + f"?tls-certificates={folder}"
    output = run("nbdinfo", uri, check=False)
    assert "export-size" not in output
    wait_until(lambda: logged in stack.log("primary"), "the refusal is logged")
    assert 'blkcolo_denied_total{method="nbd",roles="observer"}' in (
        stack.scrape("primary")
    )


def test_nbd_refuses_a_foreign_ca_and_is_refused_by_its_clients(
    stack: Stack, foreign: Lab, lab: Lab
) -> None:
    base = stack.uri("primary").partition("?")[0]
    mixed = foreign.client_folder("nbd")
    theirs = f"{base}?tls-certificates={mixed}"
    assert "export-size" not in run("nbdinfo", theirs, check=False)
    (mixed / "ca-cert.pem").write_bytes(lab.ca.read_bytes())
    assert "export-size" not in run("nbdinfo", theirs, check=False)
    wait_until(lambda: "TLS handshake" in stack.log("primary"), "it is logged")


def start_tls(port: int, sent: bytes = b"") -> socket.socket:
    """A connection whose STARTTLS was acknowledged; `sent` is slipped in."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    option = b"IHAVEOPT" + struct.pack(">II", 5, 0)
    plain.sendall(struct.pack(">I", 3) + option + sent)
    received = b""
    while len(received) < 18 + 20:
        received += plain.recv(18 + 20 - len(received))
    assert struct.unpack(">QIII", received[18:])[1:] == (5, 1, 0)
    return plain


def test_nbd_takes_tls_1_2_and_refuses_1_1(stack: Stack, lab: Lab) -> None:
    port = stack.nbd["primary"]
    with secured(start_tls(port), lab) as connection:
        assert connection.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        secured(start_tls(port), lab, ssl.TLSVersion.TLSv1_1)
    wait_until(lambda: "unsupported protocol" in stack.log("primary"), "logged why")


def test_nbd_drops_a_client_that_goes_on_in_plain_text(stack: Stack) -> None:
    option = b"IHAVEOPT" + struct.pack(">II", 3, 0)
    with start_tls(stack.nbd["primary"], option) as plain:
        assert plain.recv(1) == b""
    with start_tls(stack.nbd["primary"]) as plain:
        plain.sendall(option)
        answer = plain.recv(4096)
        assert answer[:1] in (b"", b"\x15")  # nothing, or a TLS alert


# Renewal.


def test_renewed_certificates_are_picked_up_without_a_restart(
    stack: Stack, lab: Lab
) -> None:
    before = serials(stack, lab)
    lab.issue("node", lifetime=timedelta(days=9))
    lab.issue("coordinator", lifetime=timedelta(days=9))
    after = serials(stack, lab)
    assert all(after[name] != before[name] for name in before)
    assert stack.checkpoint() > 0  # the coordinator's own channels as well
    lab.key("node").write_text("half written")
    assert serials(stack, lab) == after
    failures = "blkcolo_certificate_reload_failures_total 1.0"
    assert failures in stack.scrape("primary")
    assert f"tls.key = '{lab.key('node')}': holds no PEM private key" in (
        stack.log("primary")
    )
    lab.issue("node")
    assert serials(stack, lab)["primary"] != after["primary"]


def serials(stack: Stack, lab: Lab) -> dict[str, str]:
    """The serial numbers that the servers show."""
    sockets = {name: connect(port) for name, port in stack.grpc.items()}
    sockets["nbd"] = start_tls(stack.nbd["primary"])
    shown = {}
    for name, plain in sockets.items():
        with secured(plain, lab) as connection:
            shown[name] = str((connection.getpeercert() or {})["serialNumber"])
    return shown


# The end: changes the stack for good.


def test_failover_over_tls_leaves_the_checkpoint_on_the_secondary(
    stack: Stack, tmp_path: Path
) -> None:
    image, late = tmp_path / "image", tmp_path / "late"
    image.write_bytes(os.urandom(SIZE))
    late.write_bytes(os.urandom(SIZE))
    run("nbdcopy", "--flush", str(image), stack.uri("primary"))
    stack.checkpoint()
    run("nbdcopy", "--flush", str(late), stack.uri("primary"))
    answer = stack.failover()
    assert answer.primary_fenced
    assert answer.nbd_uris == [stack.uri("secondary").partition("?")[0]]
    copy = tmp_path / "copy"
    run("nbdcopy", stack.uri("secondary"), str(copy))
    assert copy.read_bytes() == image.read_bytes()
