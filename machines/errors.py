"""Errors that a user can fix."""


class LabError(Exception):
    """A problem and its remedy."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy
