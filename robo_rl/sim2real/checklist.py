"""The sim-to-real risk checklist of a policy.

Each row a risk, its evidence, its margin and a verdict.

Rows come from what was measured on this policy (contract checks, the gap study, the safety study).
What was not measured is UNKNOWN, and UNKNOWN is never a pass.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robo_rl.envs.step import Environment, make
from robo_rl.errors import UserError
from robo_rl.policy import contract
from robo_rl.policy.networks import Network
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.report import page as report
from robo_rl.rollouts.play import episode_keys
from robo_rl.safety_eval import results
from robo_rl.safety_eval.results import Against, SafetyResults
from robo_rl.safety_eval.suite import Finding
from robo_rl.sim2real import gap_results
from robo_rl.sim2real.checklist_rows import OLDER, Row, wiring_rows
from robo_rl.sim2real.gap_results import GapResults, Margin, Swept
from robo_rl.sim2real.profiles import digest_of, load_profile
from robo_rl.verdicts import Grade, Verdict, grade_of, tally, tally_words, worst

SAMPLED = 256  # observations with which the network is tried
TIMED_CALLS = 2000
PERIOD_SHARE = (
    0.1  # of the control period that inference may take on the robot's own, slower computer
)
LEAST_SEEDS = 3

LADDER = (
    (
        "Dry run",
        (
            "Log observations on the robot with motors off; compare units, signs and order with the"
            " contract."
        ),
    ),
    (
        "Suspended",
        "Robot hung up, torque limit 30 %; check directions, latency and emergency stop.",
    ),
    (
        "Supported",
        "On the ground with a tether and an operator at the stop; speed limit half the tested one.",
    ),
    (
        "Supervised",
        "Untethered inside a fenced area, one disturbance of the safety suite at a time.",
    ),
    ("Released", "Only with every row above GREEN or signed off by name."),
)


class Checklist(NamedTuple):
    """All lines for one policy."""

    policy: Policy
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> Grade:
        """The worst line decides: RED, then UNKNOWN, then AMBER."""
        return worst(row.verdict for row in self.rows)


def checklist(run: Path) -> Checklist:
    """Gathers every line; a study that has not been run leaves an UNKNOWN line."""
    policy = load_policy(run)
    env = make(str(policy.contract.get("env")), str(policy.contract.get("reward")))
    swept, judged = gap_results.load(run), results.load(run)
    rows = (
        *_contract_rows(run, policy, env),
        *wiring_rows(run, policy),
        *_gap_rows(run, policy, swept),
        *_transfer_rows(run, policy, swept),
        *_safety_rows(run, policy, judged),
        _seeds_row(run, policy),
        _regression_row(run, policy, judged),
        *_ladder_rows(),
    )
    return Checklist(policy, rows)


def _contract_rows(run: Path, policy: Policy, env: Environment) -> list[Row]:
    command = f"robo-rl checklist {run}"
    differs = contract.mismatches(policy.contract, env)
    seen, around = _typical_observations(policy, env)
    batch, _ = policy.act(seen, policy.begin(len(seen)))
    single = np.stack([policy.act(one, policy.begin())[0] for one in seen])
    finite = bool(np.isfinite(batch).all())
    agree = float(np.abs(batch - single).max()) if finite else np.inf
    return [
        Row(
            "contract",
            "The policy was trained on another body, layout or rate than the one checked",
            "; ".join(differs) or "model, observation, action, rates and reward layer are equal",
            "exact",
            Grade.RED if differs else Grade.GREEN,
            "Train again on the present model; export and deploy with the contract's table.",
            command,
        ),
        Row(
            "contract",
            "The policy gives numbers that are not finite, or depends on the batch",
            f"{len(seen)} observations {around}:"
            f" {'all finite' if finite else 'NOT FINITE'}, batch against single {agree:.1e}",
            "1e-5",
            Grade.GREEN if finite and agree < 1e-5 else Grade.RED,
            "Do not deploy; train again and read health.jsonl.",
            command,
        ),
        *_normaliser_rows(policy, command),
        _inference_row(policy, seen[0], env, command),
    ]


def _typical_observations(policy: Policy, env: Environment) -> tuple[np.ndarray, str]:
    """Observations that the policy may meet, [n, observations], and where they are from."""
    if isinstance(policy.network, Network) and policy.wired is None:
        mean, std = policy.network.mean, policy.network.std
        rng = np.random.default_rng(0)
        return mean + std * rng.standard_normal((SAMPLED, mean.size)), "around the training mean"
    starts = env.reset_batch(episode_keys(0, SAMPLED))
    return np.asarray(starts.observation), "of starts of episodes"


def _normaliser_rows(policy: Policy, command: str) -> list[Row]:
    """What the normaliser tells of training; a network from elsewhere has none to be asked."""
    if not isinstance(policy.network, Network):
        return []
    narrow = int((policy.network.std < 1e-4).sum())
    return [
        Row(
            "contract",
            "An observation that hardly varied in training blows up when the real one does",
            f"{narrow} of {policy.network.std.size} normalised channels have a deviation below"
            " 1e-4",
            "0",
            Grade.AMBER if narrow else Grade.GREEN,
            "Remove the channel or randomise it in training.",
            command,
        )
    ]


def _inference_row(policy: Policy, seen: np.ndarray, env: Environment, command: str) -> Row:
    worst_ms, period_ms = 1e3 * inference_s(policy, seen), 1e3 * env.control_s
    margin = period_ms * PERIOD_SHARE / worst_ms
    grade = Grade.GREEN if margin >= 2 else Grade.AMBER if margin >= 1 else Grade.RED
    return Row(
        "timing",
        "Inference does not fit the control period",
        f"99th percentile {worst_ms:.3f} ms of {period_ms:.1f} ms in NumPy on {contract.machine()}",
        f"{margin:.1f} (budget: {PERIOD_SHARE:.0%} of the period)",
        grade,
        "Time it on the robot's computer; smaller networks or compiled inference.",
        command,
    )


def inference_s(policy: Policy, seen: np.ndarray) -> float:
    """99th percentile of the time of one call on an observation [n], s."""
    times, memory = [], policy.begin()
    for _ in range(TIMED_CALLS):
        began = time.perf_counter()
        policy.act(seen, memory)
        times.append(time.perf_counter() - began)
    return float(np.quantile(times, 0.99))


def _gap_rows(run: Path, policy: Policy, found: GapResults | None) -> list[Row]:
    if found is None:
        return [
            Row(
                "sensors, actuators, dynamics, environment",
                "Departures from simulation break the policy",
                "the gap study has not been run",
                "unknown",
                Grade.UNKNOWN,
                "Run it.",
                f"robo-rl gap {run}",
            )
        ]
    old = _stale(found, policy)
    nothing = Row(
        "dynamics",
        "The policy does not do its task even in simulation",
        old or f"{found.undisturbed.why}, episodes of {found.episode_s:g} s",
        "none",
        Grade.UNKNOWN if old else found.undisturbed.verdict,
        "Train on, or ask less of it.",
        found.command,
    )
    return [nothing] + [
        Row(
            sweep.section,
            sweep.name.replace("_", " "),
            _swept(sweep, found, old),
            _margin(sweep.margin),
            Grade.UNKNOWN if old else sweep.verdict,
            sweep.mitigation,
            found.command,
        )
        for sweep in found.sweeps
    ]


def _stale(found: GapResults, policy: Policy) -> str:
    """Why a gap study says nothing of the policy and the profile as they are; "" where it does."""
    if found.policy_sha256 != policy.digest:
        return OLDER
    try:
        same = digest_of(load_profile(found.profile_file)) == found.profile_sha256
    except UserError:
        same = False
    return "" if same else f"measured with another profile than {found.profile_file} says now"


def _swept(sweep: Swept, study: GapResults, old: str) -> str:
    measured = sweep.measured
    where = "unmeasured" if measured is None else report.quantity(measured, sweep.unit)
    return (
        f"{old or sweep.why}; the real magnitude is {where};"
        f" {sum(sweep.episodes)} episodes of {study.episode_s:g} s"
        f" at {len(sweep.magnitudes)} magnitudes (profile {study.profile.name})"
    )


def _margin(margin: Margin | None) -> str:
    if margin is None:
        return "unknown"
    return f"lower bound {'beyond the sweep' if margin.low is None else f'{margin.low:.2g}'}"


def _transfer_rows(run: Path, policy: Policy, found: GapResults | None) -> list[Row]:
    """One line per other engine that the gap study tried."""
    mitigation = "Randomise friction and contact in training; confirm on logs of the real robot."
    risk = "The policy exploits its physics engine (on {})"
    if found is None or not found.transfers:
        why, command = "no other engine was run", f"robo-rl gap {run}"
        unknown = ("unknown", Grade.UNKNOWN, mitigation, found.command if found else command)
        return [Row("dynamics", risk.format("another engine"), why, *unknown)]
    old = _stale(found, policy)
    return [
        Row(
            "dynamics",
            risk.format(one.engine),
            old or one.why,
            f"success at least {one.success.low:.0%}" if one.episodes else "unknown",
            Grade.UNKNOWN if old else one.verdict,
            mitigation,
            found.command,
        )
        for one in found.transfers
    ]


def _safety_rows(run: Path, policy: Policy, found: tuple[SafetyResults, ...]) -> list[Row]:
    if not found:
        return [
            Row(
                "safety envelope",
                "The policy leaves the safe envelope under disturbances",
                "no safety suite has been run",
                "unknown",
                Grade.UNKNOWN,
                "Run it.",
                f"robo-rl safety {run}",
            )
        ]
    return [row for study in found for row in _judged(study, policy)]


def _judged(study: SafetyResults, policy: Policy) -> list[Row]:
    """One line per criterion of a suite, judged or not."""
    old, rows = study.policy_sha256 != policy.digest, []
    for name in study.criteria:
        if findings := [f for f in study.findings if f.criterion == name]:
            rows.append(_safety_row(study, name, findings, old))
    return rows + [
        Row(
            "safety envelope",
            f"{study.suite.name}: {name}",
            why,
            "unknown",
            Grade.UNKNOWN,
            "Judge it, or say in the suite's not_for why it does not apply.",
            study.command,
        )
        for name, why in study.not_judged.items()
    ]


def _safety_row(study: SafetyResults, name: str, findings: list[Finding], old: bool) -> Row:
    criterion = study.criteria[name]
    grade = worst(grade_of(f.verdict) for f in findings)
    if not criterion.required and grade is Grade.RED:
        grade = Grade.AMBER
    bad = [
        f"{f.scenario} {f.failures}/{f.episodes}" for f in findings if f.verdict is not Verdict.PASS
    ]
    evidence = f"{len(findings) - len(bad)} of {len(findings)} scenarios pass" + (
        f"; not: {', '.join(bad)}" if bad else ""
    )
    high = max(f.failure_rate.high for f in findings)
    return Row(
        "safety envelope",
        f"{study.suite.name}: {name.replace('_', ' ')}: {findings[0].threshold}",
        OLDER if old else evidence,
        f"failure rate at most {high:.0%}, {criterion.max_rate:.0%} allowed",
        Grade.UNKNOWN if old else grade,
        criterion.reason,
        study.command,
    )


def _seeds_row(run: Path, policy: Policy) -> Row:
    if "imported" in policy.contract:
        return Row(
            "evidence",
            "The result is the luck of one training seed",
            "trained elsewhere: from how many seeds this one was chosen is not known",
            f"{LEAST_SEEDS} seeds",
            Grade.AMBER,
            "Import the policies of other seeds too and compare them.",
            f"robo-rl compare runs={run},OTHER_RUN",
        )
    env, algo, reward = (policy.contract.get(k) for k in ("env", "algo", "reward"))
    seeds = len(trained_seeds(run, policy))
    return Row(
        "evidence",
        "The result is the luck of one training seed",
        f"{seeds} training run(s) of this configuration lie beside this one",
        f"{LEAST_SEEDS} seeds",
        Grade.GREEN if seeds >= LEAST_SEEDS else Grade.AMBER,
        "Train more seeds and compare them.",
        f"robo-rl compare env={env} algo={algo} reward={reward} seeds={LEAST_SEEDS}",
    )


def trained_seeds(run: Path, policy: Policy) -> set[Any]:
    """The seeds of this policy's configuration whose trained policies lie beside its run."""
    same = ("env", "algo", "reward", "trainer", "model_sha256", "steps")
    found = {policy.contract.get("seed")}
    for folder in run.resolve().parent.iterdir():
        try:
            other = load_policy(folder).contract
        except (UserError, OSError):
            continue
        if all(other.get(key) == policy.contract.get(key) for key in same):
            found.add(other.get("seed"))
    return found


def _regression_row(run: Path, policy: Policy, studies: tuple[SafetyResults, ...]) -> Row:
    """The worst regression verdict of the safety studies that had a baseline."""
    compared = [(study, study.baseline) for study in studies if study.baseline]
    grade, evidence = Grade.UNKNOWN, "no baseline was given"
    if compared:
        grade = worst(_regression_grade(*pair) for pair in compared)
        evidence = "; ".join(_regression_words(*pair) for pair in compared)
    if any(study.policy_sha256 != policy.digest for study, _ in compared):
        grade, evidence = Grade.UNKNOWN, OLDER
    elif any(old.policy_sha256 == study.policy_sha256 for study, old in compared):
        grade, evidence = Grade.UNKNOWN, "the baseline is this very policy, which shows nothing"
    return Row(
        "evidence",
        "The policy is worse than the one it replaces",
        evidence,
        "the suite's margin",
        grade,
        "Give the policy in use as baseline; a first policy has none.",
        f"robo-rl safety {run} baseline=OLD_RUN",
    )


def _regression_grade(study: SafetyResults, baseline: Against) -> Grade:
    verdicts = {r.verdict for r in study.regressions if r.required}
    if baseline.error or Verdict.ERROR in verdicts or not verdicts:
        return Grade.UNKNOWN
    return worst(map(grade_of, verdicts))


def _regression_words(study: SafetyResults, baseline: Against) -> str:
    against = f"{study.suite.name} against {baseline.run}"
    if baseline.error:
        return f"{against}: {baseline.error}"
    required = [r for r in study.regressions if r.required]
    bad = [f"{r.criterion} in {r.scenario}" for r in required if r.verdict is not Verdict.PASS]
    shown = f"; not: {', '.join(bad[:4])}" if bad else ""
    return f"{against}: {len(required) - len(bad)} of {len(required)} comparisons pass{shown}"


def _ladder_rows() -> list[Row]:
    return [
        Row(
            "bring-up ladder",
            f"{k + 1}. {name}",
            "not done",
            "sign-off by name",
            Grade.UNKNOWN,
            what,
            "on the robot",
        )
        for k, (name, what) in enumerate(LADDER)
    ]


def write(made: Checklist, folder: Path, command: str) -> Path:
    """The checklist as HTML, Markdown and JSON; returns the HTML's path."""
    columns = ("risk", "verdict", "evidence", "margin", "mitigation", "reproduce")
    sections = []
    for name in dict.fromkeys(row.section for row in made.rows):
        lines = tuple(
            (r.risk, r.verdict, r.evidence, r.margin, r.mitigation, r.command)
            for r in made.rows
            if r.section == name
        )
        sections.append(report.Section(name.capitalize(), (report.Grid(columns, lines),)))
    counts = tally(row.verdict for row in made.rows)
    why = f"{tally_words(counts)} of {len(made.rows)} lines. UNKNOWN is never a pass."
    sections.append(report.reproduce(command, contract.versions()))
    described = made.policy.contract
    title = (
        f"Sim-to-real risk checklist: {described['env']} ({described.get('algo', 'policy')},"
        f" {described.get('reward', 'task')} reward)"
    )
    made_report = report.Report(title, made.verdict, why, tuple(sections))
    rows = [row._asdict() for row in made.rows]
    data = {
        "rows": rows,
        "counts": counts,
        "policy_sha256": made.policy.digest,
        "versions": contract.versions(),
    }
    return report.write_report(folder, made_report, data)
