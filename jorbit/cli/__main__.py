"""`python -m jorbit.cli` is `jorbit`."""

from jorbit.cli.app import main

if __name__ == "__main__":
    main()
