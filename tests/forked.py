"""`python tests/forked.py N [OPTIONS]`: pytest in N workers, forked from one process that has imported the tests.

Each worker that pytest-xdist starts by itself imports torch, transformers and all tests again.
"""

import contextlib
import gc
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile

STREAMS = (0, 1, 2)


def controlled(workers: str, options: list[str]) -> int:
    """What pytest returns: its workers are asked for at a socket, and forked from this process."""
    import pytest

    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(place := os.path.join(folder, "workers"))
        server.listen()
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            pytest.main(["-qq", "--collect-only", *options])
        gc.collect()
        gc.freeze()  # what is shared is not written to, by looking for garbage
        asking = shlex.join([sys.executable, __file__, place])
        until, held = os.pipe()
        apart = [f"--tx={workers}*popen//python={asking}", "--max-worker-restart=2"]
        tests = subprocess.Popen([sys.executable, "-m", "pytest", *apart, *options], pass_fds=[held])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end by it, and all that is here with them
        os.close(held)  # who reads is told when the tests have ended, and nobody has it any more
        while server in select.select([server, until], [], [])[0]:
            worker, _ = server.accept()
            if os.fork() == 0:
                become(worker)
            worker.close()
        return tests.wait()


def become(worker: socket.socket) -> None:
    """Read from the streams of who asked, as Python does when execnet starts it."""
    _, streams, *_ = socket.recv_fds(worker, 1, len(STREAMS))
    for stream, number in zip(streams, STREAMS, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv, sys.stdin = ["-c"], open(0)  # noqa: SIM115  # for as long as the process lives
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        exec(eval(sys.stdin.readline()), {"__name__": "__main__"})
        code = 0
    finally:
        os._exit(code)


def asked(place: str) -> None:
    """Have a worker forked that has the streams of this process, and wait for its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(place)
        socket.send_fds(worker, [b"."], STREAMS)
        worker.recv(1)


if __name__ == "__main__":
    if os.path.sep in sys.argv[1]:
        asked(sys.argv[1])
    else:
        sys.exit(controlled(sys.argv[1], sys.argv[2:]))
