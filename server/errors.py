"""What stops a command of the command line, told in one line."""


class StartError(Exception):
    """The command cannot go on; the message is for a person and says what to do."""
