# SPDX-License-Identifier: Apache-2.0
"""Time-series servers of their makers, where this machine has them."""

from pathlib import Path

from tests.servers import free_port, need


def victoria(folder: Path, port: int) -> list[str]:
    return [
        need("victoria-metrics"), f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder / 'vm'}",
        "-search.latencyOffset=0s", "-retentionPeriod=100y",
    ]  # fmt: skip


def influxd(folder: Path, port: int) -> list[str]:
    conf = folder / "influxdb.conf"
    conf.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n'
        f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nindex-version = "tsi1"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
    )
    return [need("influxd"), "-config", str(conf)]
