"""What a user can mend. Pages and the command line catch exactly `UserError`; anything else is a bug.

UserError
├── InvalidConfigError      a setting, a name or a combination of them is off
├── NotFoundError           a cohort, dataset, run or case that does not exist
├── UnreadableImageError    a file that cannot become a volume (code such as NII-TRUNCATED)
├── RefusedError            a file or request that is readable, but is not let in (privacy, limits, archives)
└── DeviceError             the device asked for is not there
"""

from __future__ import annotations


class UserError(Exception):
    """One plain sentence (what is wrong, the limit, what to do) and a stable code.

    The message never holds a path or a header's value: they can name a patient.
    """

    default_code = "USER"

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code


class InvalidConfigError(UserError):
    """A setting is out of range, unknown, or does not fit the others."""

    default_code = "CONFIG"


class NotFoundError(UserError):
    """There is nothing of that name in this workspace."""

    default_code = "NOT-FOUND"


class UnreadableImageError(UserError):
    """The file is not an image that can be read, or is damaged."""

    default_code = "UNREADABLE"


class RefusedError(UserError):
    """The input is understood, and is not let in."""

    default_code = "REFUSED"


class DeviceError(UserError):
    """The device that was asked for is not there."""

    default_code = "DEVICE"
