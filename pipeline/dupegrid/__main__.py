"""`python -m dupegrid` is the command `dupegrid`."""

from dupegrid.app.cli import main

if __name__ == "__main__":
    main()
