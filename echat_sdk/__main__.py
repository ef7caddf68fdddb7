"""`python -m echat_sdk` is `echat`."""

from echat_sdk.cli import main

if __name__ == "__main__":
    main()
