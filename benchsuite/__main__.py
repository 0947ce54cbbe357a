"""`python -m benchsuite` and the command `benchsuite`.

Nothing is imported before `main`, so that Ctrl-C during the imports is one line, too.
"""


def main() -> None:
    """Run the command line."""
    try:
        import signal

        # Not as an exception: code that is being imported may turn it into another error.
        answered = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if answered:  # else the command was started with the signal ignored, as by nohup
            signal.signal(signal.SIGINT, _end)
        from benchsuite.cli import main as command

        if answered:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command()
        finally:
            if answered:  # nothing is left that would have to be reported
                signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        _end()


def _end(*_: object) -> None:
    import os

    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":  # child processes import this module too
    main()
