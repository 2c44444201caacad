"""Errors that a user can mend: shown as one message, without a traceback."""


class SslError(Exception):
    """Something that was given (data, a recipe, a folder, a tool) cannot be used; the message says what and why."""
