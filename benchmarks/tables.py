"""Writes docs/benchmarks.md from benchmarks/results/*.json, so that no figure is typed by hand."""

import json
from pathlib import Path

import numpy as np

from robo_rl.envs.step import make
from robo_rl.rollouts.seeds import over_runs
from robo_rl.rollouts.statistics import figure
from robo_rl.training.compare import return_bounds

RESULTS = Path(__file__).parent / "results"
TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def row(*cells) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(*columns, rows) -> list[str]:
    """A Markdown table and an empty line."""
    return [row(*columns), row(*("---" for _ in columns)), *(row(*r) for r in rows), ""]


def speed(data) -> list[str]:
    command = "`python benchmarks/speed.py ROUNDS`"
    lines = ["## Speed", "", f"{command}: contestants in turn, the median rate, and the median"]
    lines += ["over rounds of ours / theirs.", f"Machine: {data['versions']['machine']}.", ""]
    for title, rates in data["results"].items():
        rows = [
            (n, f"{r['rate']:,.0f}", f"{r['ours_over_this']:.2f}", len(r["rates"]))
            for n, r in rates.items()
        ]
        lines += table(title, "rate", "ours / this", "rounds", rows=rows)
    return lines


def time_to_return(data) -> list[str]:
    lines = [f"## Wall clock to a return of {data['goal']:g} on hopper (PPO)", ""]
    lines += ["`python benchmarks/time_to_return.py`: SB3 with RL Zoo's tuned settings, both"]
    lines += ["scored on Gymnasium's own Hopper-v5; compilation counts, evaluation does not.", ""]
    rows = []
    for name, points in data["rows"].items():
        last, reached = points[-1], "yes" if data["reached"][name] else "no"
        steps, seconds = f"{last['steps']:,}", f"{last['train_s']:.0f}"
        rows.append((name, reached, steps, seconds, f"{last['return']:.0f}"))
    lines += table("trainer", "reached", "steps", "training, s", "last return", rows=rows)
    least = "" if data["reached"]["sb3"] else "more than "
    return [*lines, f"SB3's wall clock / ours: {least}{data['sb3_over_ours']:.1f}", ""]


def learning(studies) -> list[str]:
    rows = []
    for name, data in studies.items():
        for variant in data["final"]:
            runs = [r for r in data["runs"] if r["variant"] == variant]
            scores = [np.nan if r["task_return"] is None else r["task_return"] for r in runs]
            each = ", ".join("crashed" if np.isnan(s) else figure(s) for s in sorted(scores))
            minutes = sum(r["train_s"] for r in runs) / len(runs) / 60
            power, violating = (
                sum(r["behaviour"][key] for r in runs) / len(runs)
                for key in ("power", "any_violation_rate")
            )
            interval = over_runs(np.array(scores), *return_bounds(make(data["env"])))
            cells = (interval, each, f"{power:.0f}", f"{violating:.0%}")
            spent = f"{minutes:.1f}" if data.get("timed", True) else "shared machine"
            rows.append((name, variant, *cells, spent, f"`{data['command']}`"))
    columns = (
        "study",
        "variant",
        "task return, median over seeds [95 %]",
        "each seed",
        "power, W",
    )
    head = ["## Learning", "", "Final deterministic policies, 20 held-out episodes a run. The", ""]
    head[2] += " interval holds the median of all runs that could be trained (see Seed intervals)."
    return head + table(*columns, "violating steps", "minutes", "command", rows=rows)


def robots(data) -> list[str]:
    rows = []
    for name, r in data["results"].items():
        share = r["succeeded"]
        met = f"{share['point']:.1%} [{share['low']:.1%}, {share['high']:.1%}]"
        claim = f"{r['metric']} <= {r['at_most']:g} {r['unit']} in {r['share']:.0%}"
        spent = (f"{r['steps']:,.0f}", f"{r['train_min']:.1f}")
        shown = f"{name} (from {r['start']})" if r.get("start") else name
        rows.append((shown, claim, met, f"{r['median']:.3g}", f"{r['falls']:.1%}", *spent))
    head = [
        "## Robots",
        "",
        "`python benchmarks/robots.py FOLDER`: PPO at its preset, one seed, 200",
    ]
    head += [f"held-out episodes, exact 95 % interval. Machine: {data['versions']['machine']}.", ""]
    columns = ("environment", "wanted", "episodes that met it", "median", "falls", "steps")
    return head + table(*columns, "minutes", rows=rows)


def transfer(data) -> list[str]:
    rows = []
    for name, r in sorted(data["results"].items()):
        drift = ", ".join(f"{k}: {v:.1g}" for k, v in r["drift"].items())
        falls = f"{r['falls']:.0%} / {r['falls_there']:.0%}"
        kept = r["ratio"]
        spread = "" if kept["low"] is None else f" [{kept['low']:.3f}, {kept['high']:.3f}]"
        share = f"{kept['point']:.3f}{spread}"
        returns = (f"{r['return']:.1f}", f"{r['return_there']:.1f}")
        rows.append((name, r["episodes"], *returns, share, falls, drift))
    head = [
        "## Engine transfer",
        "",
        "`python benchmarks/transfer.py RUN ...`: policies trained on C",
    ]
    head += ["MuJoCo, the same held-out episodes on the other engines. Drift: largest difference"]
    head += ["of a joint position after so many steps of the same actions from the same state.", ""]
    columns = ("policy", "episodes", "return on mujoco", "there", "ratio, paired 95 %")
    columns += ("falls here / there",)
    return head + table(*columns, "drift, m or rad", rows=rows)


def contract(data) -> list[str]:
    head = ["## The contract on every engine", "", "`python benchmarks/contract.py`", ""]
    made = data["results"].values()
    engines = sorted({r["engine"] for r in made})
    kept = {(r["env"], r["engine"]): "; ".join(r["broken"]) or f"{r['claims']} kept" for r in made}
    rows = [
        (env, *(kept.get((env, engine), "not run") for engine in engines))
        for env in sorted({r["env"] for r in made})
    ]
    return head + table("environment", *engines, rows=rows)


def resume(data) -> list[str]:
    rows = [
        (
            kind,
            r["sigint"],
            r["sigkill"],
            len(r["lost"]),
            f"{len(r['different'])} of {r['arrays'] + 2}",
        )
        for kind, r in data["results"].items()
    ]
    head = ["## Resume after Ctrl-C and SIGKILL", "", "`python benchmarks/resume.py`: struck at"]
    head += [
        "random moments of the console command, imports and compilation included; compared",
        "with an uninterrupted run to the last bit.",
        "",
    ]
    columns = ("run", "Ctrl-C", "SIGKILL", "lost", "arrays and tables that differ at the end")
    return head + table(*columns, rows=rows)


def coverage(data) -> list[str]:
    lines = ["## Seed intervals", "", "`python benchmarks/coverage.py`: simulated scores of"]
    lines += [f"training runs, {data['draws']:,} draws a cell. How often 95 % intervals hold what"]
    lines += ["they are about, in percent, by the number of seeds. `ours` is about the median run,"]
    lines += ["Student's about the mean, the bootstrap about the interquartile mean (IQM). What no"]
    lines += ["interval can do: with two outcomes far apart and equally likely, all of 2 / 3 / 4"]
    lines += ["seeds show the same one in 50 / 25 / 12.5 % of comparisons. From 5 seeds on `ours`"]
    lines += [
        "holds at least 93.75 % for every distribution, from 6 on 95 %. Equal scores of fewer"
    ]
    lines += ["than 5 seeds have no interval and count as held.", ""]
    rows = [
        (name, kind, *(f"{100 * share:.1f}" for share in row))
        for name, kinds in data["intervals"].items()
        for kind, row in kinds.items()
    ]
    heads = [f"{count} seeds" for count in data["counts"]]
    lines += table("scores", "interval", *heads, rows=rows)
    lines += ["Two arms with the same distribution of scores that the exact rank test calls"]
    lines += ["different at 5 %, in percent (fewer than 4 seeds can decide nothing):", ""]
    rows = [
        (name, *(f"{100 * share:.1f}" for share in row))
        for name, row in data["equal_called_different"].items()
    ]
    lines += table("scores", *heads, rows=rows)
    lines += ["How often the 95 % interval of the probability of improvement holds it, in percent"]
    lines += ["(normal scores):", ""]
    rows = [
        (chance, *(f"{100 * share:.1f}" for share in row))
        for chance, row in data["improvement"].items()
    ]
    return lines + table("true probability", *heads, rows=rows)


def mutants(data) -> list[str]:
    lines = ["## Policies that must never be accepted", ""]
    lines += [
        "`python benchmarks/mutants.py`: each is judged by `robo-rl safety` with the suite of"
    ]
    lines += ["its environment; what the shell saw. idle: zero action; constant: half of full"]
    lines += ["command; random: random weights; frozen: the trained policy's action at its mean"]
    lines += [
        "observation; sign-flipped: its actions times -1. `trained` is a PPO policy of the task"
    ]
    lines += ["layer, for comparison.", ""]
    kinds = ("idle", "constant", "random", "frozen", "sign-flipped", "nan", "trained")
    rows = [
        (name, *(row[kind].get("gate", "") if kind in row else "not run" for kind in kinds))
        for name, row in data.items()
    ]
    lines += table("environment", *kinds, rows=rows)
    reasons = [(name, row["trained"]["why"]) for name, row in data.items() if "trained" in row]
    return lines + table("environment", "why the trained policy got its verdict", rows=reasons)


def regression(data) -> list[str]:
    lines = ["## Regression", "", f"`python benchmarks/regression.py`: {data['studies']} simulated"]
    lines += ["studies of eight scenarios under the locomotion suite's plan.", ""]
    rows = [
        (name, f"{row['fail_somewhere']:.1%}", f"{row['pass_everywhere']:.1%}")
        for name, row in data["cases"].items()
    ]
    columns = ("new policy against the old", "FAIL somewhere", "PASS everywhere")
    lines += table(*columns, rows=rows)
    lines += ["`python benchmarks/regression.py RUNS`: the command itself, by each environment's"]
    lines += [
        "own suite at its default size (the gate may still reject the policy for itself).",
        "",
    ]
    rows = [
        (
            name,
            row["episodes"],
            *(row["verdicts"].get(kind, 0) for kind in ("PASS", "INCONCLUSIVE", "FAIL")),
            "; ".join(dict.fromkeys(row["worse"])),
        )
        for name, row in data.get("real", {}).items()
    ]
    columns = ("new policy against the old", "episodes", "PASS", "INCONCLUSIVE", "FAIL", "why")
    return lines + table(*columns, rows=rows)


def replays(data) -> list[str]:
    lines = ["## Replays", "", "`python benchmarks/replays.py RUNS`: every failing episode of a"]
    lines += ["small safety study, replayed from its bundle by `robo-rl replay` in a fresh process"]
    lines += [f"on the same machine ({data['processor']}).", ""]
    rows = [
        (name, kind, row["gate"], row["failing"], row.get("reproduced", 0))
        for name, kinds in data["results"].items()
        for kind, row in kinds.items()
    ]
    columns = ("environment", "policy", "verdict", "failing episodes", "reproduced bit for bit")
    return lines + table(*columns, rows=rows)


def peers_tests(data) -> list[str]:
    lines = ["## Other people's tests, pointed at our environments", ""]
    lines += [
        "`python benchmarks/peers_tests.py PEER FOLDER`: Gymnasium's tests/envs/test_envs.py on"
    ]
    lines += ["every environment; SB3's tests of its vectorised environments on one.", ""]
    kinds = ("passed", "failed", "skipped")
    rows = [(peer, *(row.get(kind, 0) for kind in kinds)) for peer, row in data.items()]
    return lines + table("peer", *kinds, rows=rows)


def public_policies(data) -> list[str]:
    lines = ["## Public policies", ""]
    lines += [
        "`python benchmarks/public_policies.py FOLDER`: each imported as its authors describe"
    ]
    lines += [
        "it; 20 s at its initial command, undisturbed; golden: largest difference of observation"
    ]
    lines += [
        "and action from golden data over 50 control steps, closed in double precision; wiring:"
    ]
    lines += [
        "mistakes that make it fall / make it worse / do nothing in 10 s; rate: physics steps a"
    ]
    lines += [
        "second of a suite over those of raw mujoco.batch.",
        f"Machine: {data['versions']['machine']}.",
        "",
    ]
    rows = []
    for r in data["policies"]:
        trial, golden = r["trial"], r["golden"]
        speed = f"{trial['velocity_b_mps'][0]:.3f} of {trial['command'][0]:g}"
        largest = (
            max(golden["observation"], golden["action"], golden["network"]) if golden else None
        )
        rows.append(
            (
                r["name"],
                speed,
                "yes" if trial["fell"] else "no",
                "not given" if largest is None else f"{largest:.1e}",
                ", ".join(
                    f"{a}: {'none' if v is None else f'{v:.2g}'}" for a, v in r["response"].items()
                ),
                " / ".join(str(n) for n in r["wiring"].values()),
                r["gate"],
                f"{r['rate']['ratio']:.2f}",
            )
        )
    columns = (
        "policy",
        "m/s forward",
        "fell",
        "golden",
        "followed from",
        "wiring",
        "suite",
        "rate",
    )
    return lines + table(*columns, rows=rows)


def planted(data) -> list[str]:
    rows = data["mistakes"]
    lines = ["## Planted wiring mistakes", ""]
    lines += ["`python benchmarks/planted_mistakes.py FOLDER`: a mistake in the policy's file; the"]
    lines += [
        "import's trial of 20 s against plain MuJoCo from the same file. Equal: both fall, or"
    ]
    lines += ["neither does and the forward velocity differs by 0.05 m/s at most.", ""]
    told = []
    for name in dict.fromkeys(r["policy"] for r in rows):
        own = [r for r in rows if r["policy"] == name]
        fell = sum(bool(r["plain"]["fell"]) for r in own)
        unlike = "; ".join(r["mistake"] for r in own if not r["equal"]) or "none"
        told.append((name, len(own), fell, sum(r["equal"] for r in own), unlike))
    return lines + table("policy", "mistakes", "fall in plain MuJoCo", "equal", "unlike", rows=told)


def margins(data) -> list[str]:
    lines = ["## Breaking points", ""]
    lines += [
        "`python benchmarks/margins.py RUN ...`: known thresholds from 0.02 to 20 times the real"
    ]
    lines += [
        "magnitude; success falls there at once, or as 1 / (1 + (magnitude / threshold)^slope / 4)."
    ]
    lines += ["Close: bounds within a quarter of each other. The claim is 95 %.", ""]
    told = [
        (
            shape,
            f"{r['inside']} of {r['cases']}",
            f"{r['ratio_median']:.2f}",
            f"{r['close']:.0%}",
            f"{r['episodes_mean']:.0f} ({r['episodes_most']})",
        )
        for shape, r in data["simulated"].items()
    ]
    lines += table(
        "success falls",
        "threshold inside",
        "high / low, median",
        "close",
        "episodes, mean (most)",
        rows=told,
    )
    if not data["policies"]:
        return lines
    lines += [
        "Trained policies: success measured again at both bounds, on new episodes; inside: at"
    ]
    lines += ["or above the floor at the lower one, below it at the upper one.", ""]
    told = []
    for name, rows in data["policies"].items():
        unlike = ", ".join(r["name"] for r in rows if not r["inside"]) or "none"
        told.append((name, len(rows), sum(r["inside"] for r in rows), unlike))
    return lines + table("policy", "departures", "inside", "not", rows=told)


def _least(size: float | None) -> str:
    return "none" if size is None else f"{size:.2g}"


WRITERS = {
    "peers-tests": peers_tests,
    "public-policies": public_policies,
    "planted-mistakes": planted,
    "margins": margins,
    "mutants": mutants,
    "regression": regression,
    "replays": replays,
    "speed": speed,
    "time_to_return": time_to_return,
    "robots": robots,
    "transfer": transfer,
    "contract": contract,
    "resume": resume,
    "coverage": coverage,
}


def main() -> None:
    lines = ["# Benchmarks", ""]
    lines += ["Generated by `python benchmarks/tables.py` from `benchmarks/results/`.", ""]
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    for name, write in WRITERS.items():
        if name in found:
            lines += write(found[name])
    studies = {
        n.removeprefix("learning-"): d for n, d in found.items() if n.startswith("learning-")
    }
    if studies:
        lines += learning(studies)
    TARGET.write_text("\n".join(lines))
    print(TARGET)


if __name__ == "__main__":
    main()
