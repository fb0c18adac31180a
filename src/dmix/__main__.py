"""`python -m dmix` is `dmix`, where the command is not on the path."""

from dmix.cli.main import main

if __name__ == "__main__":
    main()
