# SPDX-License-Identifier: Apache-2.0
"""Real peers for the tests: free loopback ports, programs started and stopped, loud absence."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hub.app.demo import free_port


def need(program: str, *, paths: Sequence[str] = ()) -> str:
    """The program's path. Where it is absent the test says so loudly; in CI absence is a failure."""
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *paths]))
    if found:
        return found
    text = f"{program} is not installed: this test needs the real program (see .ci/run for the packages)"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def wait_port(port: int, host: str = "127.0.0.1", timeout_s: float = 30.0) -> None:
    """Until somebody listens; fails loudly after the time-out."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail(f"nothing listens on {host}:{port} after {timeout_s} s")


@contextlib.contextmanager
def running(
    argv: Sequence[str], *, port: int | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program for the length of a test."""
    process = subprocess.Popen(list(argv), cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if port is not None:
            wait_port(port)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def mosquitto(folder: Path, port: int | None = None, extra: str = "") -> Iterator[int]:
    """A Mosquitto broker on a free loopback port."""
    program = need("mosquitto")
    port = port or free_port()
    conf = folder / f"mosquitto-{port}.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{extra}\n")
    with running([program, "-c", str(conf)], port=port):
        yield port


SOAK = os.environ.get("MINING_HUB_SOAK") == "1"


def count(reduced: int, full: int) -> int:
    """The number of cases: reduced for every-day runs, the issue's own number under `make soak`."""
    return full if SOAK else reduced
