"""What a robot offers a mapping: the names of the entries of its frame, in its own units."""

QUATERNION = "base quaternion"  # w, x, y, z
LINEAR = "base linear velocity"  # m/s, world frame
ANGULAR = "base angular velocity"  # rad/s, base frame
HEIGHT = "base height"  # m
POSITION = "joint position"  # rad, m
VELOCITY = "joint velocity"  # rad/s, m/s
COMMAND = "command"  # m/s, m/s, rad/s
SENSORS = "sensors"  # the model's own, as it declares them
