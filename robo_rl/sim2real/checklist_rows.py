"""A line of the checklist, and those of what lies between an imported policy and a robot."""

from pathlib import Path
from typing import Any, NamedTuple

from robo_rl.content import read_json
from robo_rl.policy.stored import Policy
from robo_rl.sim2real import wiring_report
from robo_rl.verdicts import Grade, worst

OLDER = "measured on an older policy"


class Row(NamedTuple):
    """One line of the checklist."""

    section: str
    risk: str
    evidence: str
    margin: str
    verdict: Grade
    mitigation: str
    command: str


def wiring_rows(run: Path, policy: Policy) -> list[Row]:
    """What an import leaves open between the policy and the robot; nothing for our own policies."""
    if "imported" not in policy.contract:
        return []
    found = run / "import.json"
    said = read_json(found, "golden", "policy_sha256") if found.is_file() else {}
    same = said.get("policy_sha256") == policy.digest
    return [
        _golden_row(run, said.get("golden") if same else None),
        _assumed_row(run, policy.contract["imported"].get("from", {})),
        *([_mistakes_row(run, policy)] if policy.wired else []),
    ]


def _golden_row(run: Path, golden: dict[str, Any] | None) -> Row:
    if golden is None:
        evidence, grade = "this policy was not compared with golden data", Grade.UNKNOWN
    else:
        found = [golden[key] for key in ("observation", "action", "network")]
        largest = "not finite" if None in found else f"{max(found):.2g}"
        evidence = f"largest difference from golden data over {golden['steps']} steps {largest}"
        grade = Grade.GREEN if golden["equal"] else Grade.RED
    return Row(
        "contract",
        "The policy is wired otherwise than where it was trained",
        evidence,
        f"{golden['tolerance']:g}" if golden else "unknown",
        grade,
        "Record observation, action, qpos and qvel at the source; import again with golden=FILE.",
        f"robo-rl import ... out={run} golden=FILE",
    )


def _assumed_row(run: Path, entries: dict[str, str]) -> Row:
    assumed = [entry for entry, why in entries.items() if why.startswith("assumed")]
    return Row(
        "contract",
        "What no file says was guessed wrongly",
        f"{len(assumed)} of {len(entries)} entries were assumed: {', '.join(assumed) or 'none'}",
        "0",
        Grade.AMBER if assumed else Grade.GREEN,
        f"Confirm each entry in {run}/import/report.html.",
        f"robo-rl checklist {run}",
    )


def _mistakes_row(run: Path, policy: Policy) -> Row:
    risk, command = "A wiring mistake on the robot brings it down unseen", f"robo-rl wiring {run}"
    found = wiring_report.load(run)
    if found is None:
        return Row(
            "contract",
            risk,
            "the wiring table has not been made",
            "unknown",
            Grade.UNKNOWN,
            "Make it.",
            command,
        )
    grades = [Grade(row["grade"]) for row in found.rows]
    falls = sum(row["outcome"] == wiring_report.FALLS for row in found.rows)
    silent = [row["mistake"] for row in found.rows if Grade(row["grade"]) is Grade.RED]
    tests = [
        row["shown_by"][0] for row in found.rows if row["shown_by"] and row["outcome"] != "nothing"
    ]
    old = found.policy_sha256 != policy.digest
    return Row(
        "contract",
        risk,
        (f"{OLDER}: " if old else "")
        + f"{falls} of {len(found.rows)} mistakes make it fall"
        + (f"; no test on the stand shows: {', '.join(silent)}" if silent else ""),
        f"{len(silent)} unseen",
        Grade.UNKNOWN if old else worst(grades),
        "On the stand, before the ground: " + "; ".join(dict.fromkeys(tests)) + ".",
        command,
    )
