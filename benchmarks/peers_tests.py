"""The tests of Gymnasium and SB3, pointed at our environments.

Usage: python benchmarks/peers_tests.py {gymnasium,sb3} FOLDER [TEST ...]; FOLDER is a checkout of
the peer or its source distribution. Where a test asks for one of IDS it gets an environment of
ours, where Gymnasium runs over its registry all of ours, and where SB3's tests build a DummyVecEnv
of such environments they get a RobotVecEnv. What cannot pass so (a CartPole's gravity, a discrete
action, a Monitor, a package that is not installed) is in the result by name with its reason.
Writes benchmarks/results/peers-tests.json and prints what did not pass.
"""

import importlib
import json
import os
import sys
from collections import Counter
from pathlib import Path

import gymnasium
import pytest
from stable_baselines3.common import vec_env

from robo_rl.envs.step import make
from robo_rl.files import write_json
from robo_rl.interop.gym import RobotEnv
from robo_rl.interop.registration import NAMESPACE, Spec, gymnasium_id
from robo_rl.interop.sb3 import RobotVecEnv
from robo_rl.policy.contract import versions

TARGET = Path(__file__).resolve().parent / "results" / "peers-tests.json"
TESTS = {
    "gymnasium": ("tests/envs/test_envs.py", "tests/wrappers", "tests/vector"),
    "sb3": ("tests/test_vec_envs.py", "tests/test_vec_normalize.py", "tests/test_vec_monitor.py"),
}
IDS = {
    "CartPole-v1": "inverted-pendulum",
    "Pendulum-v1": "inverted-pendulum",
    "MountainCarContinuous-v0": "inverted-pendulum",
    "BipedalWalker-v3": "inverted-pendulum",
    "FrozenLake-v1": "reacher",
}


class Pointer:
    """A pytest plugin: points the tests at ours before their import, keeps what came of them."""

    def __init__(self, peer: str):
        self.peer, self.outcomes = peer, {}

    def pytest_sessionstart(self) -> None:  # noqa: D102
        for used, name in IDS.items():
            spec = gymnasium.spec(gymnasium_id(name))
            entries = {key: getattr(spec, key) for key in ("entry_point", "vector_entry_point")}
            gymnasium.registry[used] = Spec(used, kwargs={"name": name}, **entries)
        if self.peer == "sb3":
            vec_env.DummyVecEnv = _vector(vec_env.DummyVecEnv)
            return
        specs = [s for s in gymnasium.registry.values() if s.namespace == NAMESPACE]
        made = [spec.make(disable_env_checker=True).unwrapped for spec in specs]
        utils = importlib.import_module("tests.envs.utils")
        utils.all_testing_initialised_envs[:] = made
        utils.all_testing_env_specs[:] = [env.spec for env in made]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:  # noqa: D102
        if report.when == "call" or report.outcome != "passed":
            errors = [row[2:] for row in str(report.longrepr).splitlines() if row.startswith("E ")]
            self.outcomes[report.nodeid] = report.outcome, " ".join((errors or [""])[0].split())


def _vector(dummy: type) -> type:
    """SB3's DummyVecEnv, but robots of ours come as the vector that we offer for SB3."""

    class Vector(dummy):
        def __new__(cls, env_fns):  # the environments themselves are not used
            probe = env_fns[0]()
            if type(probe.unwrapped) is not RobotEnv:
                return super().__new__(cls)
            return RobotVecEnv(
                make(probe.unwrapped.name), len(env_fns), render_mode=probe.render_mode
            )

    return Vector


def main(peer: str, folder: str, tests: list[str]) -> None:
    plugin = Pointer(peer)
    os.chdir(folder)
    sys.path.insert(0, folder)
    options = ["-c", os.devnull, "--rootdir", folder, "-q", "-p", "no:cacheprovider"]
    pytest.main([*options, *(tests or TESTS[peer])], plugins=[plugin])
    failed = {k: why for k, (outcome, why) in plugin.outcomes.items() if outcome == "failed"}
    counts = Counter(outcome for outcome, _ in plugin.outcomes.values())
    old = json.loads(TARGET.read_text()) if TARGET.is_file() else {}
    write_json(TARGET, {**old, peer: {**counts, "why": failed, "versions": versions()}})
    print(peer, dict(counts), *(f"{k}: {why}" for k, why in failed.items()), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1], str(Path(sys.argv[2]).resolve()), sys.argv[3:])
