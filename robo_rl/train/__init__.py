"""Training loops of ours over brax.training's losses, networks, statistics and replay.

SB3 as second trainer.
"""
