"""Reward and cost terms (small pure functions) and the layers that weigh them."""
