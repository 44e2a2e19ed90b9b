"""`python -m adapterops`."""

from adapterops.cli.main import main

if __name__ == "__main__":
    main()
