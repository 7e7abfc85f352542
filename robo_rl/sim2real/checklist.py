"""The sim-to-real risk checklist of a policy.

Each row a risk, its evidence, its margin and a verdict.

Rows come from what was measured on this policy (contract checks, the gap study, the safety study).
What was not measured is UNKNOWN, and UNKNOWN is never a pass.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robo_rl.content import read_json
from robo_rl.envs.step import Environment, make
from robo_rl.errors import UserError
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.report import page as report
from robo_rl.verdicts import SEVERITY, Grade, worst

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


SAFETY_KEYS = ("suite", "criteria", "findings", "regressions", "baseline")


class Row(NamedTuple):
    """One line of the checklist."""

    section: str
    risk: str
    evidence: str
    margin: str
    verdict: str
    mitigation: str
    command: str


class Checklist(NamedTuple):
    """All lines for one policy."""

    policy: Policy
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> str:
        """The worst line decides: RED, then UNKNOWN, then AMBER."""
        return worst(row.verdict for row in self.rows)


def checklist(run: Path) -> Checklist:
    """Gathers every line; a study that has not been run leaves an UNKNOWN line."""
    policy = load_policy(run)
    env = make(str(policy.contract.get("env")), str(policy.contract.get("reward")))
    rows = (
        *_contract_rows(run, policy, env),
        *_gap_rows(run),
        *_transfer_rows(run),
        *_safety_rows(run),
        *_evidence_rows(run),
        *_ladder_rows(),
    )
    return Checklist(policy, rows)


def _contract_rows(run: Path, policy: Policy, env: Environment) -> list[Row]:
    command = f"robo-rl checklist {run}"
    differs = contract.mismatches(policy.contract, env)
    rng = np.random.default_rng(0)
    seen = policy.network.mean + policy.network.std * rng.standard_normal(
        (256, policy.network.mean.size)
    )
    batch = policy(seen)
    single = np.stack([policy(one) for one in seen])
    finite = bool(np.isfinite(batch).all())
    agree = float(np.abs(batch - single).max()) if finite else np.inf
    narrow = int((policy.network.std < 1e-4).sum())
    return [
        Row(
            "contract",
            "The policy was trained on another body, layout or rate than the one checked",
            "; ".join(differs) or "model, observation, action, rates and reward layer are equal",
            "exact",
            "RED" if differs else "GREEN",
            "Train again on the present model; export and deploy with the contract's table.",
            command,
        ),
        Row(
            "contract",
            "The policy gives numbers that are not finite, or depends on the batch",
            "256 observations around the training mean:"
            f" {'all finite' if finite else 'NOT FINITE'}, batch against single {agree:.1e}",
            "1e-5",
            "GREEN" if finite and agree < 1e-5 else "RED",
            "Do not deploy; train again and read health.jsonl.",
            command,
        ),
        Row(
            "contract",
            "An observation that hardly varied in training blows up when the real one does",
            f"{narrow} of {policy.network.std.size} normalised channels have a deviation below"
            " 1e-4",
            "0",
            "GREEN" if not narrow else "AMBER",
            "Remove the channel or randomise it in training.",
            command,
        ),
        _inference_row(policy, env, command),
    ]


def _inference_row(policy: Policy, env: Environment, command: str) -> Row:
    worst_ms, period_ms = 1e3 * inference_s(policy), 1e3 * env.control_s
    margin = period_ms * PERIOD_SHARE / worst_ms
    verdict = "GREEN" if margin >= 2 else "AMBER" if margin >= 1 else "RED"
    return Row(
        "timing",
        "Inference does not fit the control period",
        f"99th percentile {worst_ms:.3f} ms of {period_ms:.1f} ms in NumPy on {contract.machine()}",
        f"{margin:.1f} (budget: {PERIOD_SHARE:.0%} of the period)",
        verdict,
        "Time it on the robot's computer; smaller networks or compiled inference.",
        command,
    )


def inference_s(policy: Policy) -> float:
    """99th percentile of the time of one call, s."""
    seen = policy.network.mean.astype(np.float32)
    times = []
    for _ in range(TIMED_CALLS):
        began = time.perf_counter()
        policy(seen)
        times.append(time.perf_counter() - began)
    return float(np.quantile(times, 0.99))


def _gap_rows(run: Path) -> list[Row]:
    path = run / "gap" / "results.json"
    command = f"robo-rl gap {run}"
    if not path.is_file():
        return [
            Row(
                "sensors, actuators, dynamics, environment",
                "Departures from simulation break the policy",
                "the gap study has not been run",
                "unknown",
                "UNKNOWN",
                "Run it.",
                command,
            )
        ]
    data = read_json(path, "sweeps")
    stale = _stale(run, data.get("policy_sha256"))
    rows = []
    for sweep in data["sweeps"]:
        where = (
            report.quantity(sweep["measured"], sweep["unit"])
            if sweep["measured"] is not None
            else "unmeasured"
        )
        verdict, why = (
            ("UNKNOWN", "measured on an older policy")
            if stale
            else (sweep["verdict"], sweep["why"])
        )
        at = int(np.argmin(np.abs(np.array(sweep["magnitudes"]) - (sweep["measured"] or 0.0))))
        evidence = (
            f"{why}; at the real magnitude ({where}) {sweep['successes'][at]}/{sweep['episodes']}"
            f" episodes of {data['episode_s']:g} s succeed (profile {data['profile']['name']},"
            f" {data['levels']} levels)"
        )
        rows.append(
            Row(
                sweep["section"],
                f"{sweep['name'].replace('_', ' ')}",
                evidence,
                _margin(sweep["margin"]),
                verdict,
                sweep["mitigation"],
                data["command"],
            )
        )
    return rows


def _margin(margin: dict[str, Any] | None) -> str:
    if margin is None:
        return "unknown"
    low = "beyond the sweep" if margin["low"] is None else f"{margin['low']:.2g}"
    return f"lower bound {low}"


def _transfer_rows(run: Path) -> list[Row]:
    """One line per other engine that the gap study tried."""
    path = run / "gap" / "results.json"
    data = read_json(path, "sweeps") if path.is_file() else {}
    stale = data and _stale(run, data.get("policy_sha256"))
    found = data.get("transfers") or [{"engine": "", "verdict": "UNKNOWN", "episodes": 0}]
    rows = []
    for one in found:
        why = "measured on an older policy" if stale else one.get("why", "no other engine was run")
        rows.append(
            Row(
                "dynamics",
                f"The policy exploits its physics engine (on {one['engine'] or 'another engine'})",
                why,
                f"success at least {one['success']['low']:.0%}" if one["episodes"] else "unknown",
                "UNKNOWN" if stale else one["verdict"],
                "Randomise friction and contact in training; confirm on logs of the real robot.",
                data.get("command", f"robo-rl gap {run}"),
            )
        )
    return rows


def _safety_rows(run: Path) -> list[Row]:
    found = sorted((run / "safety").glob("*/results.json"))
    if not found:
        return [
            Row(
                "safety envelope",
                "The policy leaves the safe envelope under disturbances",
                "no safety suite has been run",
                "unknown",
                "UNKNOWN",
                "Run it.",
                f"robo-rl safety {run}",
            )
        ]
    rows = []
    for path in found:
        data = read_json(path, *SAFETY_KEYS)
        stale = _stale(run, data.get("policy_sha256"))
        suite = data["suite"]["name"]
        for name, criterion in data["criteria"].items():
            findings = [f for f in data["findings"] if f["criterion"] == name]
            if findings:
                rows.append(_safety_row(suite, name, criterion, findings, data["command"], stale))
        rows += [
            Row(
                "safety envelope",
                f"{suite}: {name}",
                why,
                "unknown",
                "UNKNOWN",
                "Judge it, or say in the suite's not_for why it does not apply.",
                data["command"],
            )
            for name, why in data["not_judged"].items()
        ]
    return rows


def _safety_row(
    suite: str,
    name: str,
    criterion: dict[str, Any],
    findings: list[dict[str, Any]],
    command: str,
    stale: bool,
) -> Row:
    colours = {"PASS": "GREEN", "INCONCLUSIVE": "AMBER", "FAIL": "RED", "ERROR": "RED"}
    verdicts = [colours[f["verdict"]] for f in findings]
    grade = worst(verdicts)
    if not criterion["required"] and grade == Grade.RED:
        grade = Grade.AMBER
    bad = [
        f"{f['scenario']} {f['failures']}/{f['episodes']}"
        for f in findings
        if f["verdict"] != "PASS"
    ]
    evidence = f"{len(findings) - len(bad)} of {len(findings)} scenarios pass" + (
        f"; not: {', '.join(bad)}" if bad else ""
    )
    high = max(f["failure_rate"]["high"] for f in findings)
    if stale:
        grade, evidence = Grade.UNKNOWN, "measured on an older policy"
    return Row(
        "safety envelope",
        f"{suite}: {name.replace('_', ' ')}: {findings[0]['threshold']}",
        evidence,
        f"failure rate at most {high:.0%}, {criterion['max_rate']:.0%} allowed",
        grade,
        criterion["reason"],
        command,
    )


def _evidence_rows(run: Path) -> list[Row]:
    policy = load_policy(run)
    env, algo, reward = (policy.contract.get(k) for k in ("env", "algo", "reward"))
    seeds = len(trained_seeds(run, policy))
    return [
        Row(
            "evidence",
            "The result is the luck of one training seed",
            f"{seeds} training run(s) of this configuration lie beside this one",
            f"{LEAST_SEEDS} seeds",
            "GREEN" if seeds >= LEAST_SEEDS else "AMBER",
            "Train more seeds and compare them.",
            f"robo-rl compare env={env} algo={algo} reward={reward} seeds={LEAST_SEEDS}",
        ),
        _regression_row(run),
    ]


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


def _regression_row(run: Path) -> Row:
    """The worst regression verdict of the safety studies that had a baseline."""
    found = sorted((run / "safety").glob("*/results.json"))
    studies = [read_json(path, *SAFETY_KEYS) for path in found]
    compared = [data for data in studies if data.get("baseline")]
    grade, evidence = Grade.UNKNOWN, "no baseline was given"
    if compared:
        grade = worst(map(_regression_grade, compared))
        evidence = "; ".join(map(_regression_words, compared))
    if any(_stale(run, data.get("policy_sha256")) for data in compared):
        grade, evidence = Grade.UNKNOWN, "measured on an older policy"
    elif any(data["baseline"]["policy_sha256"] == data["policy_sha256"] for data in compared):
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


def _regression_grade(data: dict[str, Any]) -> Grade:
    verdicts = {r["verdict"] for r in data["regressions"] if r["required"]}
    if data["baseline"]["error"] or "ERROR" in verdicts or not verdicts:
        return Grade.UNKNOWN
    if "FAIL" in verdicts:
        return Grade.RED
    return Grade.AMBER if "INCONCLUSIVE" in verdicts else Grade.GREEN


def _regression_words(data: dict[str, Any]) -> str:
    against = f"{data['suite']['name']} against {data['baseline']['run']}"
    if data["baseline"]["error"]:
        return f"{against}: {data['baseline']['error']}"
    required = [r for r in data["regressions"] if r["required"]]
    bad = [f"{r['criterion']} in {r['scenario']}" for r in required if r["verdict"] != "PASS"]
    shown = f"; not: {', '.join(bad[:4])}" if bad else ""
    return f"{against}: {len(required) - len(bad)} of {len(required)} comparisons pass{shown}"


def _ladder_rows() -> list[Row]:
    return [
        Row(
            "bring-up ladder",
            f"{k + 1}. {name}",
            "not done",
            "sign-off by name",
            "UNKNOWN",
            what,
            "on the robot",
        )
        for k, (name, what) in enumerate(LADDER)
    ]


def _stale(run: Path, digest: Any) -> bool:
    return digest != load_policy(run).digest


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
    counts = {v: sum(r.verdict == v for r in made.rows) for v in map(str, SEVERITY)}
    why = f"{report.tally(counts)} of {len(made.rows)} lines. UNKNOWN is never a pass."
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
