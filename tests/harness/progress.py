"""How far the tests are: a bar with its numbers, instead of a letter for each test."""

import time

import pytest

WIDTH = 30


class Progress:
    """Draws the bar: over and over on a terminal, ten times elsewhere; and names each test as it fails."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal
        self._began = time.monotonic()
        self._done = self._failed = self._tenth = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self):
        category, _, word = yield
        return category, "", word

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed += 1
            self._terminal.ensure_newline()
            self._terminal.write_line(f"FAILED {report.nodeid}")
        if report.when == "teardown":
            self._done += 1
            self._draw(max(self._done, self._terminal._session.testscollected))

    def _draw(self, total: int) -> None:
        line = self._line(total)
        if self._terminal.isatty():
            self._terminal.rewrite(line, erase=True)
        elif self._done * 10 // total > self._tenth:
            self._tenth = self._done * 10 // total
            self._terminal.write_line(line)

    def _line(self, total: int) -> str:
        bar = "#" * (WIDTH * self._done // total)
        seconds = round(time.monotonic() - self._began)
        return (
            f"[{bar:-<{WIDTH}}] {100 * self._done // total:3d} %  {self._done} of {total} tests, "
            f"{self._failed} failed, {seconds // 60} min {seconds % 60:02d} s"
        )
