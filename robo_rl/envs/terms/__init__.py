"""What an MDP is made of: observations, goals, resets, ends."""
