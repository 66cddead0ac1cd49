"""Exceptions of which the commands print only the message."""


class UserError(ValueError):
    """A mistake in a command, a config or the data; the commands print only its message."""


class DivergedError(UserError):
    """Training has produced NaN or infinity."""
