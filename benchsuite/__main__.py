"""`python -m benchsuite` and the command `benchsuite`.

Nothing is imported before `main`, and nothing that runs Python code before it answers Ctrl-C, so
that Ctrl-C during the imports is one line, too.
"""


def main() -> None:
    """Run the command line."""
    try:
        # The module in C. What `signal` adds are enumerations, and an exception while one is made
        # becomes a RuntimeError before Python 3.12.
        import _signal  # type: ignore[import-not-found]

        # Not as an exception: code that is being imported may turn it into another error.
        answered = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
        if answered:  # else the command was started with the signal ignored, as by nohup
            _signal.signal(_signal.SIGINT, _end)
        from benchsuite.cli import main as command

        if answered:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        try:
            command()
        finally:
            if answered:  # nothing is left that would have to be reported
                _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    except Exception as error:  # one that an import has made of Ctrl-C
        if _is_interrupt(error):
            _end()
        raise
    except KeyboardInterrupt:
        _end()


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception, or one that it was raised from, is that of Ctrl-C."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _end(*_: object) -> None:
    import os

    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":  # child processes import this module too
    main()
