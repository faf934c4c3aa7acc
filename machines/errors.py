"""What goes wrong in a way that somebody can help."""


class Trouble(Exception):
    """A problem, and what helps."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy
