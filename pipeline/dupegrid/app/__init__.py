"""What people meet: the Python interface, the command, the terminal, the demo."""
