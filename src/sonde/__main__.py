"""`python -m sonde` is the command line."""

from sonde.cli import main

raise SystemExit(main())
