# SPDX-License-Identifier: Apache-2.0
"""A twin in its own process for the length of a test, and plain ways to talk to it that are not the hub's."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twin.spec import TwinSpec

QUICK: dict[str, Any] = {
    "rpc_port": 0, "http_port": 0, "v3_port": 0, "control_port": 0, "finance": False, "pace": 600.0,
    "latency_s": (0.001, 0.003), "meter_latency_s": (0.001, 0.002), "write_s": (0.001, 0.002), "faults": {},
}  # fmt: skip


class Twin:
    """What `ready.json` said, and the control channel."""

    def __init__(self, ready: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
        self.ready, self.process = ready, process

    @property
    def miners(self) -> list[dict[str, Any]]:
        return list(self.ready["miners"])

    def first(self, dialect: str) -> dict[str, Any]:
        return next(miner for miner in self.miners if miner["dialect"] == dialect)

    def ask(self, method: str, path: str, body: bytes = b"") -> Any:
        """One exchange with the control channel, sent in one piece. AssertionError carries the twin's own words."""
        host, port = self.ready["control_url"].removeprefix("http://").split(":")
        head = f"{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        status, _, answer = say(host, int(port), head.encode() + body, 10.0).partition(b"\r\n\r\n")
        assert status.startswith(b"HTTP/1.1 200 "), (status[:32], answer)
        return json.loads(answer)

    def truth(self, device: str | None = None) -> dict[str, Any]:
        return dict(self.ask("GET", "/truth" if device is None else f"/truth?device={device}"))

    def fault(self, body: dict[str, Any]) -> None:
        assert self.ask("POST", "/fault", json.dumps(body).encode()) == {"ok": True}

    def until(self, device: str, key: str, wanted: Any, timeout_s: float = 30.0) -> dict[str, Any]:
        """Ask for the truth until a figure is the wanted one, or one that `wanted` says yes to; fails with the last truth."""
        end = time.monotonic() + timeout_s
        while not _is(wanted, (found := self.truth(device))[key]):
            if time.monotonic() > end:
                pytest.fail(f"{device}: {key} stayed {found[key]!r}, wanted {wanted!r}")
            time.sleep(0.05)
        return found


def _is(wanted: Any, found: Any) -> bool:
    return bool(wanted(found)) if callable(wanted) else bool(found == wanted)


@contextlib.contextmanager
def running_twin(folder: Path, **wanted: Any) -> Iterator[Twin]:
    """A quick twin (ephemeral ports, fast ramps, no answer times, no faults) with the given differences."""
    spec = TwinSpec(**(QUICK | wanted))
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "twin.serve", "-", str(ready)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(spec.model_dump_json().encode())
    process.stdin.close()
    try:
        line = process.stdout.readline()
        if not line:
            pytest.fail("the twin did not come up")
        assert json.loads(line)["miners"] == spec.miners
        yield Twin(json.loads(ready.read_text()), process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def say(host: str, port: int, message: bytes, timeout_s: float = 5.0) -> bytes:
    """Send, and read until the peer closes (or the time is over: what came until then)."""
    heard = b""
    with socket.create_connection((host, port), timeout=timeout_s) as line:
        line.sendall(message)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while chunk := line.recv(65_536):
                heard += chunk
    return heard


def await_ports(miner: dict[str, Any], *, opened: bool, patience_s: float = 20.0) -> None:
    """Until all ports of a miner are open, or all are closed."""
    end = time.monotonic() + patience_s
    while any(_accepts(miner["host"], port) is not opened for port in miner["ports"].values()):
        if time.monotonic() > end:
            pytest.fail(f"{miner['device']}: its ports did not {'open' if opened else 'close'}")
        time.sleep(0.05)


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5.0).close()
    except ConnectionRefusedError:
        return False
    return True


def rpc(miner: dict[str, Any], command: Any, timeout_s: float = 5.0) -> bytes:
    return say(miner["host"], miner["ports"]["rpc"], json.dumps(command).encode(), timeout_s)
