"""`python -m dupegrid` is the command `dupegrid`."""

from dupegrid.cli import main

if __name__ == "__main__":
    main()
