"""The simulation holds, finds what is planted in it, and does the same again on the same seed; its server is the real
one's equal."""

import random
from pathlib import Path

import pytest

from online.log import LogKeys, LogServer, connect
from tests.faults.simulated_server import Batch, Refused, Stream
from tests.faults.simulation import BUGS, Broken, simulate


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_nothing_is_lost_or_doubled_and_the_digests_are_those_of_a_fold_from_scratch(
    seed: int,
) -> None:
    """Raises with the seed where it does not hold."""
    done = simulate(seed)
    assert len(done.acknowledged) > 100 and done.counts["snapshots"] and done.counts["cuts"]


@pytest.mark.parametrize("bug", BUGS)
def test_what_is_planted_is_found(bug: str) -> None:
    with pytest.raises(Broken, match=rf"seed \d+, bug {bug}: "):
        for seed in range(25):
            simulate(seed, bug=bug)


def test_one_seed_is_one_interleaving() -> None:
    assert simulate(7).trace == simulate(7).trace
    assert simulate(7).fingerprint != simulate(8).fingerprint


@pytest.mark.parametrize("seed", range(3))
def test_the_simulated_server_answers_as_the_script_does(log_server: LogServer, seed: int) -> None:
    """The same batches, sent again, late and with a wrong head, to both; the same replies, the same stream."""
    script = (Path(__file__).resolve().parents[2] / "online" / "log" / "append.lua").read_text("ascii")
    keys, chance, stream = LogKeys(), random.Random(seed), Stream([])
    with connect(log_server.url) as client:
        call = client.register_script(script)
        for turn in range(300):
            writer, number = b"w%d" % chance.randrange(3), turn // 4 - chance.choice((0, 0, 0, 1, 5))
            batch = Batch(writer, max(0, number), tuple(b"%d.%d" % (turn, k) for k in range(chance.randint(1, 4))))
            known = max(0, len(stream.records) + chance.choice((0, 0, 0, -2, 3)))
            try:
                wanted: object = stream.call(batch, known)[0]
            except Refused as refused:
                wanted = str(refused).split()[0]
            try:
                found: object = call(
                    keys=[keys.log, keys.sequence, keys.writers],
                    args=[writer, batch.number, known, 0, *batch.payloads],
                )
            except Exception as error:  # the server's own error reply
                found = str(error).split()[0]
            assert found == wanted, (turn, batch, known)
        there = [fields[b"r"] for _, fields in client.xrange(keys.log)]
    assert there == stream.records and len(there) > 100
