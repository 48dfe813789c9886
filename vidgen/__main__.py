"""`python -m vidgen`, and the `vidgen` command."""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command line and end the process with its documented exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))  # until a run has its own way to stop
    # Threads that spin while they wait make a small model eight times slower wherever the cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from vidgen.cli.app import start

    code = start(sys.argv[1:])
    gc.freeze()  # the interpreter would look through all of torch once more before it ends
    sys.exit(code)


if __name__ == "__main__":
    main()
