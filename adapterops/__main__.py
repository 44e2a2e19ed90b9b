"""The command, and `python -m adapterops`."""

import os
import signal
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, and exit; also where Ctrl-C comes while the command is imported."""
    signal.signal(signal.SIGINT, _leave)
    from adapterops.cli import main as command

    command.main()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"stopped by SIGINT; nothing was written\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
