"""`python -m hierlab` is `hierlab`."""

from hierlab.cli import main

main()
