"""What goes wrong on the way from simulation to a robot, as data of one episode."""
