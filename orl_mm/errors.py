"""The exception of mistakes that the user can correct."""


class UserError(ValueError):
    """A mistake in a command, a config or the data; the commands print only its message."""
