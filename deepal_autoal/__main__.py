"""``python -m deepal_autoal`` is the same as ``deepal``."""

from deepal_autoal.cli.main import main

if __name__ == "__main__":
    main()
