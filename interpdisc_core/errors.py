"""The mistakes that a caller can do something about. Each message is one sentence: what, where, what to do."""


class InterpdiscError(Exception):
    """Base of the errors below; a command line prints its message and no traceback."""


class PlanError(InterpdiscError, ValueError):
    """A plan, a source or an option that cannot be what was meant. Raised before any work is done."""


class StoreError(InterpdiscError, ValueError):
    """An archive that disagrees with what is asked of it: damaged, of another version, or incomplete."""


class WeightsError(InterpdiscError, ValueError):
    """Network weights that are absent, or that do not fit the network."""


class Unreadable(InterpdiscError, ValueError):
    """One input that cannot be used as an image. It is quarantined with this message; the run goes on.

    access: it could not be got at, so it is tried again when it is listed again; else its content is at fault.
    """

    access = False
