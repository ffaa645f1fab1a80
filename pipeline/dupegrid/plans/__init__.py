"""What is done with matches: the only folder that may change a user's file."""
