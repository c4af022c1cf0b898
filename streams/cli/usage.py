"""A command line that cannot be understood."""

from streams.errors import DescantError


class UsageError(DescantError):
    """The command line itself is wrong; the process ends with status 2."""

    code = "usage"
