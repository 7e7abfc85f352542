"""The same MDPs through other people's interfaces: Gymnasium, Stable-Baselines3, Brax."""
