"""Two processes that work together as those of torchrun do."""

import json
import sys
from contextlib import ExitStack
from datetime import timedelta

from helpers.processes import TIMEOUT_S, Ended, Program
from torch.distributed import TCPStore


def run_ranks(folder, worker, *runs, code=0) -> list[Ended]:
    """Let two processes execute `worker`; returns what each wrote, by rank.

    They read the runs as JSON from ``sys.argv[1]``: a port, which has to become MASTER_PORT, and
    then the items of each run. They meet as torchrun's do: at a store of this process.
    """
    stores = [
        TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False,
            timeout=timedelta(seconds=TIMEOUT_S),
        )
        for _ in runs
    ]  # fmt: skip
    work = json.dumps([(store.port, *run) for store, run in zip(stores, runs, strict=True)])
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
        "DNABERT2_FAST_PROGRESS": None,
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(
                Program(
                    "-c", worker, work,
                    cwd=folder,
                    env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                )
            )
            for rank in range(2)
        ]  # fmt: skip
        done = [rank.ended() for rank in ranks]
    assert [rank.returncode for rank in done] == [code, code], done
    return done
