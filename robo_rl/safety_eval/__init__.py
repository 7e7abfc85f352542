"""Evaluation: batched rollouts, metrics, criteria, statistics, the gate, replays and reports."""
