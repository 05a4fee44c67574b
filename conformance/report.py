"""Runs unittest cases, prints each with its outcome, and at the end the one line that `./test` reads."""

import time
import unittest


class Report(unittest.TestResult):
    """One line a test; a failure with its reason right below."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self.failed = 0

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()
        self._reasons = []

    def addFailure(self, test, err):
        self._reasons.append(self._exc_info_to_string(err, test))

    def addError(self, test, err):
        if isinstance(test, unittest.TestCase):
            self.addFailure(test, err)
            return
        # Setting a class up or tearing it down failed: there is no test around it, and no test of the class may run.
        self._print_failure(str(test), [self._exc_info_to_string(err, test)])

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._reasons.append(f"{subtest}\n{self._exc_info_to_string(err, test)}")

    def addSkip(self, test, reason):
        # Nothing is skipped here: what can't run is not started, and ./test says so.
        self._reasons.append(f"skipped: {reason}")

    addUnexpectedSuccess = addExpectedFailure = lambda self, test, *_: self._reasons.append("expectedFailure is not used here")

    def stopTest(self, test):
        super().stopTest(test)
        took = time.monotonic() - self._started
        name = f"{type(test).__name__}.{test._testMethodName}"
        if not self._reasons:
            self.passed += 1
            print(f"  ok      {name} ({took:.2f} s)", flush=True)
            return
        self._print_failure(f"{name} ({took:.2f} s)", self._reasons)

    def _print_failure(self, name, reasons):
        self.failed += 1
        print(f"  FAILED  {name}")
        for reason in reasons:
            print("          " + reason.rstrip().replace("\n", "\n          "), flush=True)


def run(*cases):
    """Runs the cases in the order given; returns the status to exit with."""
    loader = unittest.TestLoader()
    report = Report()
    unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases).run(report)
    print(f"{report.passed} passed, {report.failed} failed", flush=True)
    return 0 if report.passed and not report.failed else 1
