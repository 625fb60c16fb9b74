"""Errors that a caller can do something about. Each message is one sentence: what is wrong, where, and what to do."""


class InterpdiscError(Exception):
    """Base of the errors below. The command line prints its message without a traceback."""


class PlanError(InterpdiscError, ValueError):
    """A plan, a source or an option with a value that is not valid. Raised before any work is done."""


class StoreError(InterpdiscError, ValueError):
    """An archive that is damaged, incomplete, of another version, or cannot be read or written."""


class DamageError(StoreError):
    """A file of an archive whose content is not what was written, or that was lost. `interpdisc repair` deals with it."""


class DiskFullError(StoreError):
    """A write that failed because the disk is full. The same command resumes once there is space."""


class AccessError(StoreError):
    """A store, or too many inputs, that cannot be got at: keys, rights, clock, network.

    The same command goes on once they can.
    """


class WeightsError(InterpdiscError, ValueError):
    """Network weights that are missing, or that do not fit the network."""


class Unreadable(InterpdiscError, ValueError):
    """One input that cannot be used as an image. The run continues without it.

    Args:
        reason: Why, as one phrase.
        retryable: The input could not be got at now (missing file, no permission, network): it is outstanding, and tried
            again the next time it is listed. False: its content is at fault, and it is quarantined.
    """

    def __init__(self, reason: str = "", *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.retryable = retryable


def one_line(error: BaseException, max_chars: int = 200) -> str:
    r"""An error's message as one line, cut at `max_chars`, without a final period; its class if it has no message.

    Example:
        >>> one_line(ValueError("size mismatch:\n  3 and 4."))
        'size mismatch: 3 and 4'
    """
    return " ".join(str(error).split())[:max_chars].rstrip(".") or type(error).__name__
