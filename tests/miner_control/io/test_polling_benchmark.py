# SPDX-License-Identifier: Apache-2.0
"""The polling benchmark measures what it says: every poll answered, every miner hashing, in each of its ways."""

import orjson
import pytest

from benchmarks import polling, polling_peer


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


def test_an_antminer_tells_the_same_of_its_boards_by_either_way() -> None:
    """Other libraries ask boards over HTTP: a responder without that page leaves them less to fill, and less to do."""
    asked = b"GET /cgi-bin/stats.cgi HTTP/1.1\r\nAuthorization: Digest username=root\r\n\r\n"
    _, _, body = polling_peer._web(asked).partition(b"\r\n\r\n")
    (board,) = orjson.loads(body)["STATS"]
    reported = polling_peer.ANTMINER["stats"]["STATS"][1]
    for chain in board["chain"]:
        at = chain["index"] + 1
        assert reported[f"temp_pcb{at}"] == "-".join(map(str, chain["temp_pcb"]))
        assert reported[f"temp_chip{at}"] == "-".join(map(str, chain["temp_chip"]))
        assert (
            float(reported[f"chain_rate{at}"]) == chain["rate_real"] and reported[f"chain_acn{at}"] == chain["asic_num"]
        )
    assert board["rate_5s"] == reported["GHS 5s"] and board["fan"] == [reported[f"fan{at}"] for at in range(1, 5)]
    assert polling_peer._web(asked.replace(b"Authorization", b"X")) == polling_peer.CHALLENGE
