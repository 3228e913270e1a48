# SPDX-License-Identifier: Apache-2.0
"""The polling benchmark measures what it says: every poll answered, every miner hashing, in each of its ways."""

import pytest

from benchmarks import polling


@pytest.mark.parametrize("way", ["floor", "joined", "three"])
def test_each_way_polls_and_reads_rightly(way: str) -> None:
    with polling.responder() as peer:
        ports = peer.ports
        if way == "floor":
            figures = polling.floor(ports, 300, 20)
        else:
            figures = polling.ours(ports, 300, 20, way)
            assert figures["wrong"] == 0
    assert figures["polls_per_cpu_s"] > 0 and figures["wall_s"] > 0
