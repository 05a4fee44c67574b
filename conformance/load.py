"""Clients that keep asking while a credential changes, and the judgement of every single answer that they got."""

import math
import threading
import time
from typing import NamedTuple

from wire import PATIENCE, Client


class Asked(NamedTuple):
    """One request: from before it was sent until its answer was read."""

    began: float
    ended: float
    outcome: tuple


class Change(NamedTuple):
    """A call that changed what a client should get, from before it was made until it had returned."""

    began: float
    returned: float
    outcome: tuple


def change(outcome, call):
    """Makes the call; from its return on, nothing but `outcome` is right."""
    began = time.monotonic()
    call()
    return Change(began, time.monotonic(), outcome)


class Load:
    """Some clients that ask with one credential, each over a connection of its own, as fast as they are answered."""

    def __init__(self, port, headers, path="/", clients=3):
        self._stop = threading.Event()
        self._grown = threading.Condition()
        self._problems = []
        self.asked = [[] for _ in range(clients)]
        self._threads = [threading.Thread(target=self._ask, args=(port, headers, path, asked)) for asked in self.asked]
        for thread in self._threads:
            thread.start()

    def _ask(self, port, headers, path, asked):
        client = Client(port)
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                answer = client.request(headers, path=path)
                outcome = (answer.status, answer.reason)
                with self._grown:
                    asked.append(Asked(began, time.monotonic(), outcome))
                    self._grown.notify_all()
        except Exception as problem:
            with self._grown:
                self._problems.append(problem)
                self._grown.notify_all()
        finally:
            client.close()

    def wait(self, count, since=-math.inf):
        """Until each client has been answered so often on requests that it began after `since`."""
        def enough():
            return self._problems or all(sum(one.began > since for one in asked[-count:]) >= count for asked in self.asked)
        with self._grown:
            if not self._grown.wait_for(enough, PATIENCE):
                raise AssertionError(f"fewer than {count} answers in {PATIENCE} s")
        if self._problems:
            raise self._problems[0]

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._problems:
            raise self._problems[0]

    def judge(self, first, changes):
        """The wrong answers, given what was right at first and what was changed; and how many were told apart.

        A state can be in force from when the call that brings it was begun until the call that ends it returned: a
        request that lies inside one state only must get that outcome, one across a change may get either.
        """
        states = [Change(-math.inf, -math.inf, first), *changes]
        ends = [later.returned for later in changes] + [math.inf]
        wrong = []
        certain = [0] * len(states)
        for asked in self.asked:
            for one in asked:
                possible = [index for index, state in enumerate(states)
                            if one.ended >= state.began and one.began <= ends[index]]
                if one.outcome not in {states[index].outcome for index in possible}:
                    wrong.append((one, [states[index].outcome for index in possible]))
                if len(possible) == 1:
                    certain[possible[0]] += 1
        return wrong, certain
