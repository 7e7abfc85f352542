"""A robot: its model, named parts, true and measured signals, lidar and terrain."""
