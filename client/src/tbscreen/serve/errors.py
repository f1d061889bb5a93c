"""Why serving can not start, or can not go on."""


class ServeError(Exception):
    """One sentence for the person at the terminal, with what to do about it."""
