"""The error of a log that cannot be read at all (rows that cannot be used are dead letters)."""


class LogError(Exception):
    """A table, file or column that cannot be read, in one line that says what to do.

    Attributes:
        file: the file, directory or pattern.
        problem: what is wrong with it.
        remedy: what to do.
        column: the column, where it is one column's fault.
        row: the row, counted from 1 at the first data row, where it is one row's fault.
    """

    def __init__(
        self,
        file: str,
        problem: str,
        remedy: str,
        *,
        column: str | None = None,
        row: int | None = None,
    ):
        self.file, self.problem, self.remedy = file, problem, remedy
        self.column, self.row = column, row
        place = file
        if column is not None:
            place += f", column {column}"
        if row is not None:
            place += f", row {row}"
        super().__init__(f"{place}: {problem}; {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Keeps the parts when a worker process hands the error on."""
        return (_log_error, (self.file, self.problem, self.remedy, self.column, self.row))


def _log_error(
    file: str, problem: str, remedy: str, column: str | None, row: int | None
) -> LogError:
    return LogError(file, problem, remedy, column=column, row=row)
